"""Conversational context in training: which references a prompt contains, and that a stage learns from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.corpus.manifest import SCHEMA
from mlcslm.errors import UserError
from mlcslm.model.build import build_speech_llm
from mlcslm.model.checkpoint_file import read_checkpoint
from mlcslm.model.processor import SpeechProcessor
from mlcslm.training.dataset import UtteranceDataset
from mlcslm.training.turns import training_manifest
from mlcslm.workflow.layout import Layout


@pytest.fixture(scope="module")
def processor(encoder_folder: str, language_model_folder: str, languages) -> SpeechProcessor:
    return build_speech_llm(
        encoder=encoder_folder, language_model=language_model_folder, languages=languages, projector_hidden=8
    )[1]


@pytest.fixture
def rows(tones: Path) -> list[dict]:
    return pq.read_table(tones).to_pylist()


def written(rows: list[dict], path: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def prompt_lines(dataset: UtteranceDataset, index: int, number: int = 0) -> list[str]:
    """What follows the prompt's own line."""
    example = dataset[number, index]
    prompt = [token for token, label in zip(example["input_ids"], example["labels"], strict=True) if label == -100]
    text = dataset.processor.decode(prompt).replace("<|audio|>", "")
    return text.removesuffix(" ASSISTANT:").split("\n")[1:]


def test_the_two_previous_utterances_are_in_the_prompt(rows: list[dict], processor, tmp_path: Path) -> None:
    """From either speaker, from the same session only, in order of turns rather than of the manifest."""
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    dataset = UtteranceDataset(written(shuffled, tmp_path / "m.parquet"), processor, "tagged", context=2)
    said = {(row["session_id"], row["turn"]): row for row in rows}
    assert {said[row["session_id"], 0]["speaker"] for row in rows} != {row["speaker"] for row in rows}
    for index, row in enumerate(shuffled):
        before = [said.get((row["session_id"], row["turn"] - back)) for back in (2, 1)]
        assert prompt_lines(dataset, index) == [one["text"] for one in before if one]


def test_a_whole_turn_comes_after_what_its_first_utterance_comes_after(
    rows: list[dict], processor, tmp_path: Path
) -> None:
    """And is itself in nobody's context."""
    session = [row for row in rows if row["session_id"] == rows[0]["session_id"]][:4]
    for row, (speaker, text) in zip(session, ["Aa", "Bb", "Bc", "Ad"], strict=True):
        row |= {"speaker": speaker, "text": text}
    ends = [row["end"] for row in session]
    for row, start in zip(session, [0.0, *ends], strict=False):
        row |= {"start": start}
    table = training_manifest(pa.Table.from_pylist(session, schema=SCHEMA), longest_s=30.0)
    path = written(table.to_pylist(), tmp_path / "m.parquet")
    dataset = UtteranceDataset(path, processor, "tagged", context=2, turns=True)
    assert [row["text"] for row in UtteranceDataset(path, processor, "tagged").rows] == ["a", "b", "c", "d"]
    assert [row["text"] for row in dataset.rows] == ["a", "b", "c", "d", "b c"]
    assert [prompt_lines(dataset, index) for index in range(5)] == [[], ["a"], ["a", "b"], ["b", "c"], ["a"]]


def test_context_is_normalised_like_answers(rows: list[dict], processor, tmp_path: Path) -> None:
    session = [row for row in rows if row["session_id"] == rows[0]["session_id"]][:4]
    for row, text in zip(session, ["Hello,  there!", "YES.", None, "no"], strict=True):
        row["text"] = text
    dataset = UtteranceDataset(written(session, tmp_path / "m.parquet"), processor, "tagged", context=2)
    # The third utterance has no text: it is neither an example nor a line of the fourth's context.
    assert [prompt_lines(dataset, index) for index in range(3)] == [[], ["hello there"], ["yes"]]


def test_excluded_utterances_still_serve_as_context(rows: list[dict], processor, tmp_path: Path) -> None:
    session = [row for row in rows if row["session_id"] == rows[0]["session_id"]]
    limit = sorted(row["end"] - row["start"] for row in session)[len(session) // 2]
    dataset = UtteranceDataset(
        written(session, tmp_path / "m.parquet"), processor, "tagged", context=1, max_duration_s=limit + 1e-6
    )
    assert 0 < len(dataset) < len(session)
    for index, row in enumerate(dataset.rows):
        assert prompt_lines(dataset, index) == ([session[row["turn"] - 1]["text"]] if row["turn"] else [])


def test_context_dropout_is_redrawn_each_pass(tones: Path, rows: list[dict], processor: SpeechProcessor) -> None:
    def rendered(share: float, seed: int) -> np.ndarray:
        dataset = UtteranceDataset(tones, processor, "tagged", context=2, context_dropout=share, seed=seed)
        return np.array([[bool(dataset.context((n, i))) for i in range(len(rows))] for n in range(40)])

    possible = np.array([row["turn"] > 0 for row in rows])
    assert (rendered(0.0, 1) == possible).all()
    assert not rendered(1.0, 1).any()
    third = rendered(0.3, 1)
    assert third[:, possible].mean() == pytest.approx(0.7, abs=0.06)
    assert (third == rendered(0.3, 1)).all()
    assert (third != rendered(0.3, 2)).any()
    assert not (third == third[0]).all()


@pytest.fixture
def heard(rows: list[dict], tmp_path: Path) -> Path:
    """Hypotheses of all but the fourth utterance of the first session; the second is malformed, the third ran on."""
    session = [row["utterance_id"] for row in rows if row["session_id"] == rows[0]["session_id"]]
    found = [
        {"utterance_id": row["utterance_id"], "transcript": f"Heard {row['turn']}!", "stop_reason": "end"}
        for row in rows
    ]
    for one in found:
        if one["utterance_id"] == session[1]:
            one |= {"transcript": None, "stop_reason": "malformed"}
        if one["utterance_id"] == session[2]:
            one |= {"transcript": "on and on", "stop_reason": "length"}
    return written([one for one in found if one["utterance_id"] != session[3]], tmp_path / "all.parquet")


def test_hypotheses_are_context_as_in_decoding(
    tones: Path, rows: list[dict], processor, heard: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Malformed and endless ones give no line; an utterance without one keeps its reference, and the log says so."""
    dataset = UtteranceDataset(tones, processor, "tagged", context=1, context_source="hypotheses", hypotheses=[heard])
    session = [place for place, row in enumerate(rows) if row["session_id"] == rows[0]["session_id"]]
    lines = [prompt_lines(dataset, place) for place in session[:6]]
    assert lines == [[], ["heard 0"], [], [], [rows[session[3]]["text"]], ["heard 4"]]
    assert f"no hypothesis for 1 of {len(rows) - 2} utterances, e.g. " in capsys.readouterr().err


def test_mixed_context_is_drawn_for_each_example_in_each_pass(tones: Path, rows: list[dict], processor, heard) -> None:
    def drawn(seed: int) -> np.ndarray:
        made = UtteranceDataset(
            tones, processor, "tagged", context=2, context_source="mixed", hypotheses=[heard], seed=seed
        )
        possible = [place for place, row in enumerate(rows) if row["turn"] > 5]
        for number, place in ((0, possible[0]), (1, possible[1])):
            name = rows[place]["utterance_id"]
            assert made.context((number, place)) in (made.contexts[name], made.heard_contexts[name])
        return np.array([["heard" in " ".join(made.context((n, i))) for i in possible] for n in range(60)])

    first = drawn(1)
    # About 700 fair coins: five standard deviations are 0.095.
    assert first.mean() == pytest.approx(0.5, abs=0.095)
    assert (first == drawn(1)).all()
    assert (first != drawn(2)).any() and not (first == first[0]).all()


def test_a_stage_learns_from_its_hypotheses(make_config, train: Callable[..., Path], tmp_path: Path, heard) -> None:
    """Its first loss differs from that of the stage with references; a changed hypothesis makes another checkpoint."""
    stages = {name: {"steps": 1, "context": 2, "context_source": name} for name in ("references", "hypotheses")}
    config = make_config({"ckpt-7000": {"steps": 1}, **stages})
    folders = [train(config, "references", tmp_path), train(config, "hypotheses", tmp_path, hypotheses=(heard,))]
    logs = [pq.read_table(folder / "training_log.parquet")["loss"].to_pylist() for folder in folders]
    assert logs[0] != logs[1]
    found = [read_checkpoint(folder).fingerprints.get("hypotheses") for folder in folders]
    assert found[0] is None and found[1] is not None


def test_only_what_needs_hypotheses_of_the_training_set_waits_for_them(make_config) -> None:
    stages = {
        name: {"steps": 1, "context": 2, "context_source": name} for name in ("references", "hypotheses", "mixed")
    }
    layout = Layout(make_config({"ckpt-7000": {"steps": 1}, **stages}))
    files = ["results/reasoning/hypotheses/ckpt-7000/all.parquet"]
    assert [layout.context_hypotheses(name) for name in stages] == [[], files, files]
    assert [layout.reasoning_file(name) for name in stages] == [[], [], []]


@pytest.mark.parametrize(
    ("stages", "fault"),
    [
        ({"a": {"context_source": "mixed"}}, r"context_source is 'mixed', but context is 0"),
        (
            {"a": {"context": 1, "context_source": "mixed"}},
            r"reasoning\.checkpoint names 'ckpt-7000'; expected one of a",
        ),
        (
            {"a": {"context": 1, "context_source": "mixed"}, "ckpt-7000": {"parent": "a"}},
            r"reasoning\.checkpoint names 'ckpt-7000', but a, from which it is trained, needs its hypotheses",
        ),
    ],
)
def test_hypotheses_that_cannot_be_there_are_refused(make_config, stages: dict, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        make_config({name: {"steps": 1} | stage for name, stage in stages.items()})


def test_a_stage_is_trained_with_its_context(make_config, train: Callable[..., Path], tmp_path: Path) -> None:
    """Its first loss differs from that of the same stage without context, because the prompts differ."""
    stages = {"plain": {"steps": 1}, "context": {"steps": 1, "context": 2}}
    config = make_config(stages)
    losses = {}
    for name in stages:
        folder = train(config, name, tmp_path)
        losses[name] = pq.read_table(folder / "training_log.parquet")["loss"].to_pylist()
    assert losses["plain"] != losses["context"]
    assert read_checkpoint(tmp_path / "context").recipe["context"] == 2


def test_dropout_without_context_is_refused(make_config) -> None:
    with pytest.raises(UserError, match=r"stages\.a.*context_dropout is 0\.2, but context is 0"):
        make_config({"a": {"steps": 1, "context_dropout": 0.2}})
