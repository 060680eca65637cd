"""First passes in decoding: whose they are, that batches do not change them, and that exports take the head along."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.decoder import Decoder
from mlcslm.decoding.generation import DecodingPaths, decode_split
from mlcslm.decoding.hypothesis_files import is_finished, provenance, rows_to_decode
from mlcslm.decoding.transcription import Transcriber
from mlcslm.errors import UserError
from mlcslm.export.checkpoint import export_checkpoint
from mlcslm.model.checkpoint import load_checkpoint
from mlcslm.model.ctc import CtcHead, load_ctc_head, save_ctc_head

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
SEARCH = DecodingConfig(max_new_tokens=20)


@pytest.fixture(scope="module")
def results(
    tones: Path,
    make_config: Callable[..., Any],
    train: Callable[..., Path],
    languages: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A results folder with a checkpoint that reads first passes, and with an untrained head on its encoder."""
    root = tmp_path_factory.mktemp("results")
    texts = pq.read_table(tones, columns=["utterance_id", "text"]).to_pylist()
    heard = [{"utterance_id": row["utterance_id"], "variant": 0, "first_pass": row["text"]} for row in texts]
    pq.write_table(pa.Table.from_pylist(heard), root / "heard.parquet")
    stage = {"template": "tagged", "trains": ["projector", "embedding", "head", "lm_lora"], "first_pass": "ctc"}
    config = make_config({"a": stage | {"steps": 40, "learning_rate": 5e-3, "batch_size": 8}})
    folder = train(config, "a", root / "checkpoints", first_passes=((root / "heard.parquet",),))
    model, _ = load_checkpoint(folder, languages=languages)
    for name, seed in (("foundation", 0), ("other", 1)):
        torch.manual_seed(seed)
        head = CtcHead(model.config.audio_config.d_model, "abcdefg ")
        made = root / "ctc" / name
        made.mkdir(parents=True)
        fingerprint = model.foundation["encoder"]["fingerprint"] if name == "foundation" else "another"
        save_ctc_head(made, head, encoder=fingerprint, adapters=model.encoder_adapters, loss=1.0)
    return root


@pytest.fixture(scope="module")
def decode(results: Path, tones: Path, languages: Any) -> Callable[..., list[dict[str, Any]]]:
    def run(out: Path, decoding: DecodingConfig = SEARCH, ctc: Path | None = None) -> list[dict[str, Any]]:
        paths = DecodingPaths(results / "checkpoints" / "a", tones, out / "hypotheses.parquet")
        decode_split(paths, decoding, languages, ctc=ctc or results / "ctc" / "foundation")
        return pq.read_table(paths.out).to_pylist()

    return run


def test_each_prompt_has_what_the_head_hears_of_its_utterance(results: Path, tones: Path, languages: Any) -> None:
    model, processor = load_checkpoint(results / "checkpoints" / "a", languages=languages)
    head = load_ctc_head(results / "ctc" / "foundation", model)
    decoder = Decoder(model, processor, "tagged", SEARCH, first_passes=[head])
    rows = rows_to_decode(tones)[:6]
    examples, _ = decoder.examples(rows)
    texts = [head.transcribe(one["encoder_frames"]) for one in examples]
    assert len(set(texts)) > 3
    for example, text in zip(examples, texts, strict=True):
        prompt = processor.decode(example["input_ids"]).replace("<|audio|>", "")
        assert prompt.endswith(f"above<transcribe> {text}</transcribe> ASSISTANT:")
    assert [one["first_pass"] for one in decoder.decode(rows)] == texts
    for row, text in zip(rows, texts, strict=True):  # alone, each is heard as in a batch
        assert head.transcribe(decoder.examples([row])[0][0]["encoder_frames"]) == text


def test_the_batch_changes_nothing_and_the_head_does(decode: Callable[..., Any], results: Path, tmp_path: Path) -> None:
    answers = {}
    for size in (1, 5, 32):
        hypotheses = decode(tmp_path / str(size), SEARCH.model_copy(update={"batch_size": size}))
        answers[size] = [(one["raw_text"], one["first_pass"]) for one in hypotheses]
    assert answers[1] == answers[5] == answers[32]
    deaf = tmp_path / "deaf"
    deaf.mkdir()
    head = load_ctc_head(results / "ctc" / "foundation")
    with torch.no_grad():
        head.linear.bias[0] = 1e4
    card = (results / "ctc" / "foundation" / "ctc.json").read_text(encoding="utf-8")
    fingerprint = card.split('"encoder": "')[1].split('"')[0]
    save_ctc_head(deaf, head, encoder=fingerprint, adapters="", loss=1.0)
    unheard = decode(tmp_path / "d", ctc=deaf)
    assert {one["first_pass"] for one in unheard} == {""}
    assert [one["raw_text"] for one in unheard] != [text for text, _ in answers[1]]


def test_another_head_makes_hypotheses_outdated(
    decode: Callable[..., Any], results: Path, tones: Path, tmp_path: Path
) -> None:
    decode(tmp_path)
    checkpoint, rows, out = results / "checkpoints" / "a", rows_to_decode(tones), tmp_path / "hypotheses.parquet"
    ctc = results / "ctc"
    assert is_finished(out, provenance(checkpoint, tones, SEARCH, ctc / "foundation"), rows)
    assert not is_finished(out, provenance(checkpoint, tones, SEARCH, ctc / "other"), rows)
    with pytest.raises(UserError, match="head of another encoder than the model's"):
        decode(tmp_path / "again", ctc=ctc / "other")


def test_a_killed_decoding_resumes(decode: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, hear, heard = decode(tmp_path / "undisturbed"), CtcHead.transcribe, []

    class Killed(BaseException):
        pass

    def killed(self: CtcHead, frames: torch.Tensor) -> str:
        if len(heard) == 9:
            raise Killed
        heard.append(frames)
        return hear(self, frames)

    few = SEARCH.model_copy(update={"batch_size": 4})
    with monkeypatch.context() as patch:
        patch.setattr(CtcHead, "transcribe", killed)
        with pytest.raises(Killed):
            decode(tmp_path, few)
    rest: list[torch.Tensor] = []
    monkeypatch.setattr(CtcHead, "transcribe", lambda self, frames: (rest.append(frames), hear(self, frames))[1])
    again = decode(tmp_path, few)
    assert [one["raw_text"] for one in again] == [one["raw_text"] for one in expected]
    assert [one["first_pass"] for one in again] == [one["first_pass"] for one in expected]
    assert len(rest) == len(expected) - 8


def test_without_a_head_one_line_says_so(results: Path, tones: Path, languages: Any, tmp_path: Path) -> None:
    paths = DecodingPaths(results / "checkpoints" / "a", tones, tmp_path / "out.parquet")
    with pytest.raises(UserError, match=r"^a: its prompts contain what a CTC head hears, but there is none here\.$"):
        decode_split(paths, SEARCH, languages)


def test_checkpoint_and_export_transcribe_as_the_workflow_does(
    decode: Callable[..., Any], results: Path, tones: Path, languages: Any, tmp_path: Path
) -> None:
    expected = {one["utterance_id"]: one["raw_text"] for one in decode(tmp_path)}
    checkpoint, rows = results / "checkpoints" / "a", rows_to_decode(tones)
    model = Transcriber.load(checkpoint, languages=languages, decoding=SEARCH)
    assert {one["utterance_id"]: one["raw_text"] for one in model.decode(rows)} == expected
    export_checkpoint(checkpoint, tmp_path / "model", languages=LANGUAGES)
    assert load_ctc_head(tmp_path / "model").alphabet == "abcdefg "
    model = Transcriber.load(tmp_path / "model", decoding=SEARCH)
    assert {one["utterance_id"]: one["raw_text"] for one in model.decode(rows)} == expected


def test_an_export_without_its_head_is_refused(results: Path, languages: Any, tmp_path: Path) -> None:
    checkpoint = results / "checkpoints" / "a"
    merged = r"^a with decoding 'greedy' has a first pass in its prompts, of a CTC head, which engines .* do not have; "
    with pytest.raises(UserError, match=merged):
        export_checkpoint(checkpoint, tmp_path / "model", languages=LANGUAGES, merged=True)
    alone = tmp_path / "alone" / "checkpoints" / "a"
    shutil.copytree(checkpoint, alone)
    with pytest.raises(UserError, match="no CTC head on the encoder of a, which it needs; decode it first"):
        export_checkpoint(alone, tmp_path / "model", languages=LANGUAGES)
    moved = tmp_path / "moved" / "a"
    shutil.copytree(checkpoint, moved)
    with pytest.raises(UserError, match="not in a results folder, which has the CTC head that it needs"):
        Transcriber.load(moved, languages=languages)
    assert not (tmp_path / "model").exists()
