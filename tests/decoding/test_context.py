"""Conversational context at inference: own transcripts as in a plain loop, references, and what is refused."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.corpus.manifest import build_manifest, write_manifest
from mlcslm.decoding import context as context_module
from mlcslm.decoding.context import context_size, decode_with_hypothesis_context, with_reference_context
from mlcslm.decoding.decoder import Decoder
from mlcslm.decoding.generation import DecodingPaths, decode_split
from mlcslm.decoding.hypothesis_files import PartialHypotheses
from mlcslm.errors import FaultyInput, UserError
from mlcslm.model.checkpoint import load_checkpoint
from mlcslm.model.checkpoint_file import read_checkpoint
from mlcslm.text.context import context_lines

GROUPS = ("English-American", "French", "German", "Thai", "Korean")


@pytest.fixture(scope="module")
def manifest(languages, make_tones: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five sessions of 3 to 9 utterances, whose sessions therefore do not end together."""
    folder = tmp_path_factory.mktemp("conversations")
    for number, name in enumerate(GROUPS):
        make_tones(folder / "dev", {name: languages[name]}, turns=3 + number * 3 // 2, seed=number)
    write_manifest(build_manifest(folder / "dev", languages)[0], folder / "dev.parquet")
    return folder / "dev.parquet"


@pytest.fixture(scope="module")
def conversing(
    trained: Path, make_config, train: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """That checkpoint after some steps with context, so that its answers, of several lengths, depend on it."""
    parent = read_checkpoint(trained).recipe
    stage = parent | {"parent": "a", "steps": 30, "context": 2}
    return train(make_config({"a": parent, "b": stage}), "b", tmp_path_factory.mktemp("conversing"), parent=trained)


@pytest.fixture
def rows(manifest: Path) -> list[dict[str, Any]]:
    return pq.read_table(manifest).to_pylist()


@pytest.fixture
def make_decoder(conversing: Path, languages) -> Callable[..., Decoder]:
    def make(**settings: Any) -> Decoder:
        model, processor = load_checkpoint(conversing, languages=languages)
        usual = {"max_new_tokens": 25, "context": "hypotheses"}
        return Decoder(model, processor, "tagged", DecodingConfig(**(usual | settings)))

    return make


def plain_loop(decoder: Decoder, rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each session by itself, one utterance at a time; what never ended is no context."""
    found = {}
    in_order = sorted(rows, key=lambda row: (row["session_id"], row["start"], row["speaker"]))
    for _, session in itertools.groupby(in_order, key=lambda row: row["session_id"]):
        said: list[str] = []
        for row in session:
            (hypothesis,) = decoder.decode([row | {"context": context_lines(said[-2:])}])
            said.append(hypothesis["transcript"] if hypothesis["stop_reason"] != "length" else "")
            found[row["utterance_id"]] = without_time(hypothesis)
    return found


def without_time(hypothesis: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in hypothesis.items() if name != "seconds"}


def collected(batches: Iterator[list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    hypotheses = list(itertools.chain.from_iterable(batches))
    by_id = {hypothesis["utterance_id"]: without_time(hypothesis) for hypothesis in hypotheses}
    assert len(by_id) == len(hypotheses)
    return by_id


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"max_new_tokens": 6},
        {"stop_loops": True, "max_new_tokens": 60},
        {"method": "multinomial", "temperature": 1.2, "seed": 3},
        {"method": "beam", "beams": 3},
        {"method": "beam+sampling", "beams": 2, "seed": 3},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())) or "greedy",
)
def test_own_context_is_that_of_a_plain_loop(make_decoder, rows: list[dict], settings: dict) -> None:
    decoder = make_decoder(**settings)
    expected = plain_loop(decoder, rows)
    # The property means something: answers do not end together.
    assert len({one["tokens"] for one in expected.values()}) > (2 if settings.get("max_new_tokens") != 6 else 0)
    for size in (1, 2, 3, 5, 32):
        decoder = make_decoder(**settings, batch_size=size)
        assert collected(decode_with_hypothesis_context(decoder, rows, 2, {})) == expected


def test_context_matters(make_decoder, rows: list[dict]) -> None:
    decoder = make_decoder()
    own = collected(decode_with_hypothesis_context(decoder, rows, 2, {}))
    without = {one["utterance_id"]: without_time(one) for one in decoder.decode(rows)}
    first = {row["utterance_id"] for row in rows if row["turn"] == 0}
    assert {name: own[name] for name in first} == {name: without[name] for name in first}
    assert any(own[name]["transcript"] != without[name]["transcript"] for name in own.keys() - first)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_was_decoded_before_a_kill_the_rest_is_the_same(make_decoder, rows: list[dict], seed: int) -> None:
    """Of each session any number of its first utterances may be done."""
    decoder = make_decoder(batch_size=3, max_new_tokens=12)
    expected = collected(decode_with_hypothesis_context(decoder, rows, 2, {}))
    rng = np.random.default_rng(seed)
    sessions = sorted({row["session_id"] for row in rows})
    reached = {name: rng.integers(0, 1 + sum(row["session_id"] == name for row in rows)) for name in sessions}
    done = {
        row["utterance_id"]: expected[row["utterance_id"]] for row in rows if row["turn"] < reached[row["session_id"]]
    }
    rest = collected(decode_with_hypothesis_context(decoder, rows, 2, done))
    assert rest.keys() == expected.keys() - done.keys()
    assert rest | done == expected


def decode(checkpoint: Path, manifest: Path, out: Path, languages, **settings: Any) -> list[dict[str, Any]]:
    groups = settings.pop("groups", None)
    usual = {"max_new_tokens": 12, "context": "hypotheses", "batch_size": 3}
    decode_split(
        DecodingPaths(checkpoint, manifest, out), DecodingConfig(**(usual | settings)), languages, groups=groups
    )
    return pq.read_table(out).drop_columns("seconds").to_pylist()


def test_shards_of_groups_are_the_whole(conversing: Path, manifest: Path, languages, tmp_path: Path) -> None:
    whole = decode(conversing, manifest, tmp_path / "all.parquet", languages)
    assert [row["utterance_id"] for row in whole] == pq.read_table(manifest)["utterance_id"].to_pylist()
    shards = [
        decode(conversing, manifest, tmp_path / f"{number}.parquet", languages, groups=groups)
        for number, groups in enumerate([GROUPS[:2], GROUPS[2:]])
    ]
    by_id = {row["utterance_id"]: row for shard in shards for row in shard}
    assert [by_id[row["utterance_id"]] for row in whole] == whole


def decode_until_killed(checkpoint: Path, manifest: Path, out: Path, languages: dict[str, Any]) -> None:
    """Decode, and die after four batches, in the middle of a line."""
    add, batches = PartialHypotheses.add, itertools.count(1)

    def dying(self: PartialHypotheses, rows: list[dict[str, Any]]) -> None:
        add(self, rows)
        if next(batches) == 4:
            with open(self._path, "a") as file:
                file.write('{"utterance_id": "cut sh')
            os.kill(os.getpid(), signal.SIGKILL)

    PartialHypotheses.add = dying  # type: ignore[method-assign]
    decode(checkpoint, manifest, out, languages)


def test_a_killed_decoding_goes_on_where_it_was(
    conversing: Path, manifest: Path, languages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = decode(conversing, manifest, tmp_path / "undisturbed.parquet", languages)
    # Forked from this process: importing torch again would take most of the time.
    process = multiprocessing.get_context("fork").Process(
        target=decode_until_killed, args=(conversing, manifest, tmp_path / "out.parquet", languages)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (tmp_path / "out.parquet").exists()
    added: list[str] = []
    add = PartialHypotheses.add

    def counting(self: PartialHypotheses, rows: list[dict]) -> None:
        assert len(self.rows) >= 4
        added.extend(row["utterance_id"] for row in rows)
        add(self, rows)

    monkeypatch.setattr(PartialHypotheses, "add", counting)
    assert decode(conversing, manifest, tmp_path / "out.parquet", languages) == undisturbed
    assert 0 < len(added) == len(set(added)) <= len(undisturbed) - 4


def test_what_does_not_fit_side_by_side_is_halved(
    make_decoder, rows: list[dict], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    expected = collected(decode_with_hypothesis_context(make_decoder(), rows, 2, {}))
    begin = context_module.ContinuousBatch.begin

    def small(self: Any, prompts: dict, names: list[str]) -> None:
        if len(self) + len(names) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        begin(self, prompts, names)

    monkeypatch.setattr(context_module.ContinuousBatch, "begin", small)
    assert collected(decode_with_hypothesis_context(make_decoder(batch_size=4), rows, 2, {})) == expected
    assert "4 utterances side by side do not fit into memory; continuing with 2" in capsys.readouterr().err
    monkeypatch.setattr(
        context_module.ContinuousBatch, "begin", lambda *_: (_ for _ in ()).throw(MemoryError("none left"))
    )
    with pytest.raises(UserError, match="a single utterance does not fit into memory"):
        collected(decode_with_hypothesis_context(make_decoder(batch_size=4), rows, 2, {}))


def test_reference_context_is_the_references(rows: list[dict], manifest: Path) -> None:
    for row in with_reference_context(rows, manifest, 2):
        before = [one for one in rows if (one["session_id"]) == row["session_id"] and one["turn"] < row["turn"]][-2:]
        assert row["context"] == [one["text"] for one in before]


def test_a_shard_and_a_rest_have_their_references_too(
    conversing: Path, manifest: Path, languages, tmp_path: Path
) -> None:
    whole = decode(conversing, manifest, tmp_path / "all.parquet", languages, context="reference")
    french = decode(conversing, manifest, tmp_path / "f.parquet", languages, context="reference", groups=["French"])
    assert french == [row for row in whole if row["utterance_id"].startswith("French")]
    none = decode(conversing, manifest, tmp_path / "none.parquet", languages, context="none")
    assert [row["transcript"] for row in none] != [row["transcript"] for row in whole]


def test_a_missing_reference_is_named(rows: list[dict], conversing: Path, languages, tmp_path: Path) -> None:
    """Only where it is context: nobody asks for that of a session's last utterance."""
    session = [row for row in rows if row["grp"] == "Korean"]
    session[2]["text"] = session[-1]["text"] = None
    pq.write_table(pa.Table.from_pylist(session), tmp_path / "m.parquet")
    with pytest.raises(FaultyInput) as error:
        decode(conversing, tmp_path / "m.parquet", tmp_path / "out.parquet", languages, context="reference")
    assert "no transcript for 1 of the" in str(error.value)
    assert session[2]["utterance_id"] in str(error.value)
    assert session[-1]["utterance_id"] not in str(error.value)
    assert len(decode(conversing, tmp_path / "m.parquet", tmp_path / "out.parquet", languages)) == len(session)


@pytest.mark.parametrize("context", ["reference", "hypotheses"])
def test_context_of_a_checkpoint_without_is_refused(
    trained: Path, manifest: Path, languages, tmp_path: Path, context: str
) -> None:
    with pytest.raises(UserError, match=f"context: {context}, but the checkpoint was trained without context"):
        decode(trained, manifest, tmp_path / "out.parquet", languages, context=context)
    assert context_size(DecodingConfig(), {}, "dev") == 0
    assert context_size(DecodingConfig(context=context), {"context": 2}, "dev") == 2
