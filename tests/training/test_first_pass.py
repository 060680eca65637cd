"""First passes in prompts: who heard what in the training set, and which of it a prompt shows."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mlcslm.config.decoding import CtcConfig
from mlcslm.corpus.folds import sessions_of_fold
from mlcslm.errors import UserError
from mlcslm.io.files import fingerprint, sha256
from mlcslm.model.build import build_speech_llm
from mlcslm.model.ctc import CtcHead, load_ctc_head, read_ctc_info, save_ctc_head
from mlcslm.model.processor import SpeechProcessor
from mlcslm.text.characters import characters, written
from mlcslm.training.ctc import train_ctc_head
from mlcslm.training.dataset import UtteranceDataset
from mlcslm.training.first_pass import write_first_passes
from mlcslm.workflow.layout import Layout

_WIDTH = 6


def spelling_head(alphabet: str) -> CtcHead:
    """A head that reads one-hot frames: number 0 is the blank, n is the n-th letter."""
    head = CtcHead(len(alphabet) + 1, alphabet)
    with torch.no_grad():
        head.linear.weight.copy_(10.0 * torch.eye(len(alphabet) + 1))
        head.linear.bias.zero_()
    return head


def test_repetitions_count_once_unless_a_blank_is_between_them() -> None:
    alphabet = "".join(sorted(set(characters("a b 그렇죠"))))
    head = spelling_head(alphabet)

    def frames(spelled: str) -> torch.Tensor:
        return torch.eye(len(alphabet) + 1)[[1 + alphabet.index(one) if one != "_" else 0 for one in spelled]]

    assert head.transcribe(frames("__aa_a  _ b__")) == "aa b"
    korean = characters("그렇죠")
    assert len(korean) > 3
    assert head.transcribe(frames("_".join(korean))) == "그렇죠"
    assert head.transcribe(frames("____")) == ""


def test_only_korean_letters_are_composed() -> None:
    """Whatever else a reference has stays as it is written there."""
    decomposed = unicodedata.normalize("NFD", "é")
    for text in ("그렇죠 네", f"caf{decomposed}", "เด็ก", "ぱ"):
        assert written(characters(text)) == text


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, Path]:
    """A manifest of two groups (five and two sessions, two utterances each) and a cache with two variants of each."""
    rng = np.random.default_rng(0)
    sessions = [("French", f"F{n}") for n in range(5)] + [("Thai", f"T{n}") for n in range(2)]
    rows = [
        {"utterance_id": f"{name}-{turn}", "session_id": name, "grp": grp, "start": 0.0, "end": 0.4}
        | {"text": "".join(rng.choice(list("abcde"), 3))}
        for grp, name in sessions
        for turn in range(2)
    ]
    manifest, cache = tmp_path / "m.parquet", tmp_path / "cache"
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    cache.mkdir()
    entries = [(row["utterance_id"], variant) for row in rows for variant in range(2)]
    frames = rng.normal(size=(20 * len(entries), _WIDTH)).astype("float32")
    frames.tofile(cache / "frames.bin")
    index = {
        "utterance_id": [name for name, _ in entries],
        "variant": [variant for _, variant in entries],
        "first": np.arange(len(entries)) * 20,
        "frames": [20] * len(entries),
        "samples": [6400] * len(entries),
    }
    pq.write_table(pa.table(index), cache / "index.parquet")
    fields = {"dtype": "float32", "width": _WIDTH, "frames": len(frames), "variants": 2, "encoder": "e"}
    fields |= {"adapters": "x", "encoder_window": "full", "manifest": sha256(manifest)}
    (cache / "cache.json").write_text(json.dumps(fields), encoding="utf-8")
    return manifest, cache


def fold_heads(corpus: tuple[Path, Path], root: Path, count: int) -> list[Path]:
    config = CtcConfig(steps=3, batch_size=4, folds=count)
    folders = [root / f"{number}-of-{count}" for number in range(count)]
    for number, folder in enumerate(folders):
        train_ctc_head(folder, *corpus, config, seed=1, fold=(number, count))
    return folders


def test_no_head_hears_what_it_was_trained_on(
    corpus: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which utterances each head is trained on is taken from the frames that its training reads."""
    from mlcslm.model.encoder_cache import EncoderCache

    read: dict[str, set[str]] = {}
    original = EncoderCache.read

    def spying(self: EncoderCache, name: str, variant: int = 0) -> Any:
        read.setdefault(under_way[0], set()).add(name)
        return original(self, name, variant)

    under_way = [""]
    manifest, cache = corpus
    config, folders = CtcConfig(steps=20, batch_size=4), []
    with monkeypatch.context() as patched:
        patched.setattr(EncoderCache, "read", spying)
        for number in range(3):
            under_way[0] = str(number)
            folders.append(tmp_path / under_way[0])
            train_ctc_head(folders[-1], manifest, cache, config, seed=1, fold=(number, 3))
    write_first_passes(manifest, cache, folders, tmp_path / "out.parquet")
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    names = {row["utterance_id"] for row in pq.read_table(manifest).to_pylist()}
    assert sorted((row["utterance_id"], row["variant"]) for row in rows) == sorted(
        (n, v) for n in names for v in (0, 1)
    )
    for row in rows:
        assert row["utterance_id"] not in read[str(row["fold"])]
    sessions = {str(fold): {name.split("-")[0] for name in heard} for fold, heard in read.items()}
    assert all(len(one) >= 4 for one in sessions.values()), "each head learns from most of the others"
    frames = EncoderCache(cache, manifest)
    for row in rows:
        heard = torch.from_numpy(frames.read(row["utterance_id"], row["variant"]).frames.copy())
        assert row["first_pass"] == load_ctc_head(folders[row["fold"]]).transcribe(heard)


def test_heads_of_other_folds_or_encoders_are_refused(corpus: tuple[Path, Path], tmp_path: Path) -> None:
    manifest, cache = corpus
    first, second = fold_heads(corpus, tmp_path, 2)
    out = tmp_path / "out.parquet"
    with pytest.raises(UserError, match=r"trained on all but fold \[1, 2\], expected all but fold \[0, 2\]"):
        write_first_passes(manifest, cache, [second, first], out)
    whole = tmp_path / "whole"
    train_ctc_head(whole, manifest, cache, CtcConfig(steps=1, batch_size=4), seed=1)
    assert read_ctc_info(whole).fold is None
    with pytest.raises(UserError, match=r"trained on all sessions, expected all but fold \[1, 2\]"):
        write_first_passes(manifest, cache, [first, whole], out)
    other = tmp_path / "other"
    other.mkdir()
    save_ctc_head(other, load_ctc_head(first), encoder="e", adapters="y", loss=0.1, fold=(0, 2))
    with pytest.raises(UserError, match="head of another encoder than the cache's"):
        write_first_passes(manifest, cache, [other, second], out)
    with pytest.raises(UserError, match=r"text outside fold \[0, 2\], but ctc.batch_size is 64; lower it"):
        train_ctc_head(tmp_path / "few", manifest, cache, CtcConfig(), seed=1, fold=(0, 2))
    assert not out.exists()
    single = tmp_path / "single.parquet"
    table = pq.read_table(manifest)
    pq.write_table(table.filter([name in ("F0", "T0") for name in table["session_id"].to_pylist()]), single)
    card = json.loads((cache / "cache.json").read_text(encoding="utf-8")) | {"manifest": sha256(single)}
    (cache / "cache.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(UserError, match=r"fold \[0, 2\] has all its sessions, as no group has more than one"):
        train_ctc_head(tmp_path / "few", single, cache, CtcConfig(batch_size=2), seed=1, fold=(0, 2))


@pytest.fixture(scope="module")
def processor(encoder_folder: str, language_model_folder: str, languages: Any) -> SpeechProcessor:
    return build_speech_llm(
        encoder=encoder_folder, language_model=language_model_folder, languages=languages, projector_hidden=8
    )[1]


@pytest.fixture
def heard(tones: Path, tmp_path: Path) -> Path:
    """First passes of all utterances, in two variants."""
    rows = [
        {"utterance_id": name, "variant": variant, "fold": 0, "first_pass": f"{variant} of {name}"}
        for name in pq.read_table(tones)["utterance_id"].to_pylist()
        for variant in (0, 1)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "heard.parquet")
    return tmp_path / "heard.parquet"


def prompt_of(dataset: UtteranceDataset, key: tuple[int, int]) -> str:
    example = dataset[key]
    ids = [token for token, label in zip(example["input_ids"], example["labels"], strict=True) if label == -100]
    return dataset.processor.decode(ids).replace("<|audio|>", "")


def test_each_prompt_has_its_own_utterances_first_pass_last(
    tones: Path, processor: SpeechProcessor, heard: Path
) -> None:
    dataset = UtteranceDataset(tones, processor, "tagged", first_passes=[[heard]], context=1)
    plain = UtteranceDataset(tones, processor, "tagged", context=1)
    for index, row in enumerate(dataset.rows):
        for number in (0, 1, 2):
            text = f"{number % 2} of {row['utterance_id']}"
            before = prompt_of(plain, (number, index)).removesuffix(" ASSISTANT:")
            expected = f"{before}\n<transcribe> {text} </transcribe> ASSISTANT:"
            # The tokenizer drops white space around tags.
            assert re.sub(r"\s", "", prompt_of(dataset, (number, index))) == re.sub(r"\s", "", expected)
        assert dataset[0, index]["labels"][-5:] == plain[0, index]["labels"][-5:]


def test_an_utterance_without_first_pass_is_reported(tones: Path, processor: SpeechProcessor, heard: Path) -> None:
    pq.write_table(pq.read_table(heard).slice(2), heard)
    with pytest.raises(UserError, match=r"no first pass for 1 of \d+ training utterances, e.g. "):
        UtteranceDataset(tones, processor, "tagged", first_passes=[[heard]])


def test_a_stage_learns_from_them_and_its_card_says_so(
    tones: Path, make_config: Callable[..., Any], train: Callable[..., Path], heard: Path, tmp_path: Path
) -> None:
    from mlcslm.model.checkpoint_file import read_checkpoint

    stage = {"steps": 2, "template": "tagged", "trains": ["projector", "embedding", "head"]}
    config = make_config({"a": stage | {"first_pass": "ctc"}, "b": stage})
    info = read_checkpoint(train(config, "a", tmp_path, first_passes=((heard,),)))
    assert info.recipe["first_pass"] == "ctc" and info.fingerprints["first_pass"] == fingerprint([[sha256(heard)]])
    other = read_checkpoint(train(config, "b", tmp_path))
    assert "first_pass" not in other.recipe and "first_pass" not in other.fingerprints
    assert info.files["projector.safetensors"] != other.files["projector.safetensors"]


def test_a_killed_stage_ends_with_the_same_weights(
    make_config: Callable[..., Any],
    train: Callable[..., Path],
    heard: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And where the first passes have changed meanwhile, it starts anew instead of resuming."""
    from mlcslm.model.checkpoint_file import read_checkpoint
    from mlcslm.training.trainer import SpeechTrainer

    stage = {"steps": 4, "save_steps": 2, "template": "tagged", "trains": ["projector", "embedding", "head"]}
    config = make_config({"a": stage | {"first_pass": "ctc"}})
    undisturbed = read_checkpoint(train(config, "a", tmp_path / "undisturbed", first_passes=((heard,),)))

    class Killed(BaseException):
        pass

    step = SpeechTrainer.training_step

    def killed(self: SpeechTrainer, *arguments: Any, **options: Any) -> Any:
        if self.state.global_step == 3:
            raise Killed
        return step(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(SpeechTrainer, "training_step", killed)
        with pytest.raises(Killed):
            train(config, "a", tmp_path, first_passes=((heard,),))
    (work,) = (path for path in (tmp_path / "work" / "a").iterdir() if path.is_dir())
    assert (work / "checkpoint-2" / "whole").exists()
    other = tmp_path / "other.parquet"
    table = pq.read_table(heard)
    texts = pa.array(["other"] * len(table))
    pq.write_table(table.set_column(table.schema.get_field_index("first_pass"), "first_pass", texts), other)
    fresh = read_checkpoint(train(config, "a", tmp_path / "elsewhere", first_passes=((other,),)))
    assert (
        read_checkpoint(train(config, "a", tmp_path, first_passes=((other,),))).files
        == fresh.files
        != undisturbed.files
    )
    assert (work / "checkpoint-2").exists(), "the state of the others is left alone"
    assert read_checkpoint(train(config, "a", tmp_path, first_passes=((heard,),))).files == undisturbed.files


def test_folds_part_the_sessions() -> None:
    rows = [{"grp": grp, "session_id": f"{grp}{n}"} for grp, count in (("a", 7), ("b", 2)) for n in range(count)]
    folds = [sessions_of_fold(rows, (number, 3)) for number in range(3)]
    assert sorted(one for fold in folds for one in fold) == sorted({row["session_id"] for row in rows})


@pytest.mark.parametrize(
    ("stages", "sections", "fault"),
    [
        ({"a": {"first_pass": "ctc"}}, {}, r"first_pass with template 'plain': expected a template with <transcribe>"),
        ({"a": {"first_pass": "ctc", "template": "diarized"}}, {}, "first_pass with template 'diarized'"),
        (
            {"a": {"first_pass": "ctc", "template": "tagged", "trains": ["lm_lora", "encoder_lora"]}},
            {},
            "but trains has encoder_lora; train the encoder in a stage before",
        ),
        ({"a": {"first_pass": "yes", "template": "tagged"}}, {}, r"stages\.a\.first_pass"),
        ({"a": {}}, {"ctc": {"folds": 1}}, r"ctc\.folds"),
        (
            {
                "a": {"first_pass": "ctc", "template": "tagged"},
                "b": {"kind": "reinforcement", "parent": "a", "template": "tagged", "rewards": ["errors"]},
            },
            {},
            r"stages\.b\.parent is 'a', whose prompts have a first pass",
        ),
        (
            {"a": {"first_pass": "ctc", "template": "tagged"}, "b": {"context": 1, "context_source": "mixed"}},
            {"reasoning": {"checkpoint": "a"}},
            r"reasoning\.checkpoint names 'a', whose prompts have a first pass",
        ),
    ],
)
def test_mistakes_in_the_configuration_are_named(
    make_config: Callable[..., Any], stages: dict[str, Any], sections: dict[str, Any], fault: str
) -> None:
    with pytest.raises(UserError, match=fault):
        make_config({name: {"steps": 1} | stage for name, stage in stages.items()}, **sections)


def test_what_a_stage_with_first_pass_waits_for(make_config: Callable[..., Any]) -> None:
    stage = {"steps": 1, "template": "tagged", "first_pass": "ctc"}
    adapting = {"steps": 1, "template": "tagged", "trains": ["lm_lora", "encoder_lora"]}
    config = make_config(
        {"old": {"steps": 1}, "a": stage, "e": adapting, "b": stage | {"parent": "e", "eval_steps": 1}},
        ctc={"folds": 3},
    )
    layout = Layout(config)
    assert layout.first_pass_files("old") == [] == layout.ctc_file("old", "greedy") == layout.measuring_ctc_file("a")
    assert layout.first_pass_files("a") == [["results/first_pass/foundation/train.parquet"]]
    assert layout.first_pass_files("b") == [["results/first_pass/e/train.parquet"]]
    assert layout.ctc_fold_files("e") == [f"results/first_pass/e/{n}-of-3/ctc.json" for n in range(3)]
    assert layout.ctc_file("b", "greedy") == layout.measuring_ctc_file("b") == ["results/ctc/e/ctc.json"]
