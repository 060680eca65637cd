"""Checkpoints whose prompts have other checkpoints' answers, decoding: which answers, and what becomes of a choice."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.corpus.audio import segment_samples
from mlcslm.decoding.decoder import Decoder
from mlcslm.decoding.generation import DecodingPaths, decode_split
from mlcslm.decoding.hypothesis_files import is_finished, provenance, rows_to_decode
from mlcslm.decoding.transcription import Transcriber
from mlcslm.errors import UserError
from mlcslm.export.checkpoint import export_checkpoint
from mlcslm.model.checkpoint import load_checkpoint
from mlcslm.model.ctc import CtcHead, load_ctc_head, save_ctc_head
from mlcslm.scoring.error_counts import pool
from mlcslm.scoring.wer import score_texts
from mlcslm.text.protocols import get_protocol

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
SEARCH = DecodingConfig(max_new_tokens=20)
CHOSEN = re.compile(r"\s*(keep|other|rewrite)")


FIRST_PASS = {"checkpoint": "control", "folds": ["fold-0", "fold-1"]}
CHOOSING = {"template": "choose", "trains": ["projector", "embedding", "head", "lm_lora"], "batch_size": 8}
CHOOSING |= {"first_pass": [FIRST_PASS, "ctc"], "learning_rate": 5e-3}
STAGES: dict[str, dict[str, Any]] = {
    "control": {"steps": 1},
    "fold-0": {"steps": 1, "fold": [0, 2]},
    "fold-1": {"steps": 1, "fold": [1, 2]},
    "a": CHOOSING | {"steps": 40},
    "b": CHOOSING | {"parent": "a", "steps": 2, "eval_steps": 2, "eval_utterances": 24, "eval_max_new_tokens": 20},
}


def training_passes(root: Path) -> tuple[tuple[Path, ...], ...]:
    return (root / "folds" / "all.parquet",), (root / "heard.parquet",)


@pytest.fixture(scope="module")
def results(
    tones: Path,
    make_config: Callable[..., Any],
    train: Callable[..., Path],
    languages: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A checkpoint that keeps what is longer than a word, and else takes the other; and hypotheses for it."""
    root = tmp_path_factory.mktemp("results")
    rows = pq.read_table(tones, columns=["utterance_id", "text"]).to_pylist()
    kept, other = ([], [])
    for number, row in enumerate(rows):
        right = number % 2 == 0
        kept.append({"utterance_id": row["utterance_id"], "transcript": row["text"] if right else "no"})
        other.append({"utterance_id": row["utterance_id"], "variant": 0, "first_pass": "" if right else row["text"]})
    (root / "folds").mkdir()
    pq.write_table(pa.Table.from_pylist(kept), root / "folds" / "all.parquet")
    pq.write_table(pa.Table.from_pylist(other), root / "heard.parquet")
    folder = train(make_config(STAGES), "a", root / "checkpoints", first_passes=training_passes(root))
    model, _ = load_checkpoint(folder, languages=languages)
    torch.manual_seed(0)
    head = CtcHead(model.config.audio_config.d_model, "abcdefg ")
    (root / "ctc" / "foundation").mkdir(parents=True)
    fingerprint = model.foundation["encoder"]["fingerprint"]
    save_ctc_head(root / "ctc" / "foundation", head, encoder=fingerprint, adapters=model.encoder_adapters, loss=1.0)
    pq.write_table(pa.Table.from_pylist(kept), root / "control.parquet")
    return root


@pytest.fixture(scope="module")
def decode(results: Path, tones: Path, languages: Any) -> Callable[..., list[dict[str, Any]]]:
    def run(out: Path, decoding: DecodingConfig = SEARCH, answered: Path | None = None) -> list[dict[str, Any]]:
        paths = DecodingPaths(results / "checkpoints" / "a", tones, out / "hypotheses.parquet")
        answers = answered or results / "control.parquet"
        decode_split(paths, decoding, languages, ctc=results / "ctc" / "foundation", first_passes=[answers])
        return pq.read_table(paths.out).to_pylist()

    return run


def test_what_is_chosen_is_the_transcript_and_the_batch_changes_nothing(
    decode: Callable[..., Any], results: Path, tmp_path: Path
) -> None:
    answered = {
        row["utterance_id"]: row["transcript"] for row in pq.read_table(results / "control.parquet").to_pylist()
    }
    answers = {}
    for size in (1, 8):
        hypotheses = decode(tmp_path / str(size), SEARCH.model_copy(update={"batch_size": size}))
        answers[size] = [one | {"seconds": 0.0} for one in hypotheses]
    assert answers[1] == answers[8]
    choices = set()
    for one in answers[8]:
        kept, other = one["first_pass"].split("\n")
        assert kept == answered[one["utterance_id"]] and set(other) <= set("abcdefg ")
        match = CHOSEN.match(one["raw_text"])
        choice = match[1] if match and one["stop_reason"] == "end" else "keep"
        choices.add(choice)
        if choice != "rewrite":
            assert one["transcript"] == {"keep": kept, "other": " ".join(other.split())}[choice]
            assert one["language"] is None
    assert choices >= {"keep", "other"}, "both have been learnt"


def test_a_malformed_answer_keeps_and_is_flagged(results: Path, tones: Path, languages: Any) -> None:
    model, processor = load_checkpoint(results / "checkpoints" / "a", languages=languages)
    head = load_ctc_head(results / "ctc" / "foundation", model)
    rows = rows_to_decode(tones)[:2]
    answered = {row["utterance_id"]: f"said in {number}" for number, row in enumerate(rows)}
    decoder = Decoder(model, processor, "choose", SEARCH, first_passes=[answered, head])
    examples, _ = decoder.examples(rows)
    for row, example in zip(rows, examples, strict=True):
        prompt = processor.decode(example["input_ids"]).replace("<|audio|>", "")
        other = head.transcribe(example["encoder_frames"])
        marked = [f"<transcribe>{text}</transcribe>" for text in (answered[row["utterance_id"]], other)]
        assert re.sub(r"\s", "", prompt).endswith(re.sub(r"\s", "", "".join(marked)) + "ASSISTANT:")
        for text, end, reason, expected in (
            (" keep", True, "end", answered[row["utterance_id"]]),
            (" other", True, "end", " ".join(other.split())),
            (" rewrite <LANG_FR> <transcribe> yes </transcribe>", True, "end", "yes"),
            (" yes", True, "malformed", answered[row["utterance_id"]]),
            (" rewrite <LANG_FR> <transcribe> yes", False, "length", answered[row["utterance_id"]]),
        ):
            ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
            found = decoder.hypothesis(row, [*ids, *([processor.end_token_id] if end else [])], 4, 0.0)
            assert (found["transcript"], found["stop_reason"]) == (expected, reason)
            assert found["first_pass"] == f"{answered[row['utterance_id']]}\n{other}"


def test_a_stage_that_measures_itself_counts_what_is_chosen(
    results: Path,
    tones: Path,
    make_config: Callable[..., Any],
    train: Callable[..., Path],
    languages: Any,
    tmp_path: Path,
) -> None:
    """Its errors on dev are those of its own checkpoint, decoded."""
    others = {"dev": tones, "ctc": results / "ctc" / "foundation", "dev_first_passes": (results / "control.parquet",)}
    paths = others | {"parent": results / "checkpoints" / "a", "first_passes": training_passes(results)}
    folder = train(make_config(STAGES), "b", tmp_path, **paths)
    log = pq.read_table(folder / "training_log.parquet").to_pylist()[-1]
    search = DecodingConfig(max_new_tokens=20, batch_size=16, stop_loops=True)
    out = tmp_path / "out.parquet"
    heard = {"ctc": others["ctc"], "first_passes": others["dev_first_passes"]}
    decode_split(DecodingPaths(folder, tones, out), search, languages, **heard)
    found = {row["utterance_id"]: row["transcript"] for row in pq.read_table(out).to_pylist()}
    rows = pq.read_table(tones).to_pylist()
    texts, groups = ({row["utterance_id"]: row[key] for row in rows} for key in ("text", "grp"))
    units = {name: languages[group] for name, group in groups.items()}
    counts = pool(score_texts(texts, found, get_protocol("mlcslm-2025"), units).values())
    assert log["dev_error_rate"] == pytest.approx(counts.errors / counts.length) and log["dev_loss"] > 0


def test_other_hypotheses_make_those_that_read_them_outdated(
    decode: Callable[..., Any], results: Path, tones: Path, tmp_path: Path
) -> None:
    before = decode(tmp_path)
    checkpoint, rows, out = results / "checkpoints" / "a", rows_to_decode(tones), tmp_path / "hypotheses.parquet"
    other = tmp_path / "other.parquet"
    table = pq.read_table(results / "control.parquet")
    pq.write_table(table.set_column(1, "transcript", pa.array(["hello"] * len(table))), other)

    def finished(answers: Path) -> bool:
        by = provenance(checkpoint, tones, SEARCH, results / "ctc" / "foundation", first_passes=[answers])
        return is_finished(out, by, rows)

    assert finished(results / "control.parquet") and not finished(other)
    after = decode(tmp_path, answered=other)
    assert finished(other) and [one["first_pass"] for one in after] != [one["first_pass"] for one in before]


def test_an_utterance_longer_than_the_window_keeps_its_first_pass(
    decode: Callable[..., Any],
    results: Path,
    tones: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = decode(tmp_path / "usual")
    samples = {row["utterance_id"]: segment_samples(row["start"], row["end"]) for row in rows_to_decode(tones)}
    longest = sorted(set(samples.values()))[-2]
    answered = {
        row["utterance_id"]: row["transcript"] for row in pq.read_table(results / "control.parquet").to_pylist()
    }

    def with_short_window(*arguments: Any, **options: Any) -> Any:
        model, processor = load_checkpoint(*arguments, **options)
        processor.features.max_samples = longest
        return model, processor

    monkeypatch.setattr("mlcslm.decoding.generation.load_checkpoint", with_short_window)
    found = decode(tmp_path / "short")
    long = {name for name, count in samples.items() if count > longest}
    assert long and [one["utterance_id"] for one in found] == [one["utterance_id"] for one in usual]
    for one in found:
        if one["utterance_id"] in long:
            assert one["transcript"] == one["first_pass"] == answered[one["utterance_id"]]
            assert (one["tokens"], one["stop_reason"]) == (0, "end")
    assert f"of {len(long)} of {len(found)} utterances, longer than the encoder's window" in capsys.readouterr().err


def test_only_the_workflow_has_the_other_answers(results: Path, tones: Path, languages: Any, tmp_path: Path) -> None:
    checkpoint = results / "checkpoints" / "a"
    fault = "^a: its prompts contain what control answers to the same utterance, .* Use control, or another checkpoint"
    with pytest.raises(UserError, match=fault):
        Transcriber.load(checkpoint, languages=languages)
    with pytest.raises(UserError, match=fault):
        export_checkpoint(checkpoint, tmp_path / "model", languages=LANGUAGES)
    with pytest.raises(UserError, match=fault):
        paths = DecodingPaths(checkpoint, tones, tmp_path / "out.parquet")
        decode_split(paths, SEARCH, languages, ctc=results / "ctc" / "foundation")
    assert not (tmp_path / "model").exists()
