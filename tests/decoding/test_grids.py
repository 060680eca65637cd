"""Several decodings in one job: what each gives alone, each utterance encoded once, and what is there is left."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.config.schema import DecodingConfig
from mlcslm.decoding.batching import length_buckets
from mlcslm.decoding.generation import DecodingPaths, decode_split, decode_with_all
from mlcslm.decoding.grids import Grid, grid_of
from mlcslm.decoding.hypothesis_files import is_finished, provenance, reuse_finished, rows_to_decode
from mlcslm.model.encoder_cache import write_encoder_cache
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.workflow.layout import Layout

BEST = "ckpt-12500/format+accuracy+correction"

DECODINGS = {
    "greedy.parquet": DecodingConfig(max_new_tokens=20, batch_size=5),
    "beam.parquet": DecodingConfig(method="beam", beams=3, max_new_tokens=20, batch_size=7),
    "sampled.parquet": DecodingConfig(method="beam+sampling", beams=2, max_new_tokens=20),
}


def hypotheses(path: Path) -> list[dict]:
    return pq.read_table(path).drop_columns("seconds").to_pylist()


@pytest.mark.parametrize("cached", [False, True], ids=["encoded", "cached"])
def test_together_they_give_what_each_gives_alone(
    trained: Path, tones: Path, languages, encoder_folder: str, tmp_path: Path, monkeypatch, cached: bool
) -> None:
    encoded: list[int] = []
    encode = SpeechLLM.encode_audio

    def counting(self: SpeechLLM, features: Any, mask: Any) -> Any:
        encoded.append(len(features))
        return encode(self, features, mask)

    cache = tmp_path / "cache" if cached else None
    if cached:
        write_encoder_cache(tmp_path / "cache", tones, encoder=encoder_folder)
    monkeypatch.setattr(SpeechLLM, "encode_audio", counting)
    decode_with_all(trained, tones, [(tmp_path / name, d) for name, d in DECODINGS.items()], languages, cache=cache)
    assert sum(encoded) == (0 if cached else len(pq.read_table(tones)))
    for name, decoding in DECODINGS.items():
        alone = tmp_path / "alone" / name
        decode_split(DecodingPaths(trained, tones, alone), decoding, languages)
        assert hypotheses(tmp_path / name) == hypotheses(alone)
    assert {path.name for path in tmp_path.iterdir()} == {*DECODINGS, "alone", *(["cache"] if cached else [])}


def test_answers_of_a_decoding_before_say_how_long_the_next_ones_are() -> None:
    rows: Sequence[dict] = [{"utterance_id": f"u{i}", "start": 0.0, "end": float(i)} for i in range(5)]
    expected = {"u0": 9, "u1": 3, "u2": 7, "u3": 3, "u4": 1}
    buckets = [[row["utterance_id"] for row in bucket] for bucket in length_buckets(rows, 2, expected)]
    assert buckets == [["u0", "u2"], ["u3", "u1"], ["u4"]]


def test_finished_hypotheses_are_taken_if_they_would_be_made_the_same(
    trained: Path, tones: Path, languages, tmp_path: Path
) -> None:
    decoding = DECODINGS["greedy.parquet"]
    kept, out = tmp_path / "kept.parquet", tmp_path / "there" / "out.parquet"
    decode_split(DecodingPaths(trained, tones, kept), decoding, languages, groups=["French"])
    by, rows = provenance(trained, tones, decoding), rows_to_decode(tones, ["French"])
    assert is_finished(kept, by, rows)
    assert not is_finished(kept, by, rows_to_decode(tones))
    assert not is_finished(kept, provenance(trained, tones, decoding.model_copy(update={"max_new_tokens": 21})), rows)
    other = tmp_path / "other.parquet"
    other.write_bytes(tones.read_bytes() + b" ")
    assert not is_finished(kept, provenance(trained, other, decoding), rows)
    assert not is_finished(tmp_path / "none.parquet", by, rows)
    before = hypotheses(kept)
    assert reuse_finished(kept, out, by, rows)
    assert hypotheses(out) == before
    assert not kept.exists()
    assert not reuse_finished(kept, out, by, rows)
    os.truncate(out, 100)
    assert not is_finished(out, by, rows)


@pytest.fixture
def layout(make_config, trained: Path, tones: Path, tmp_path: Path) -> Layout:
    """Of three decodings that Table 4 compares on its checkpoint, and one that it does not know."""
    settings = {name.removesuffix(".parquet"): one.model_dump() for name, one in DECODINGS.items()}
    decodings = dict(zip(("multinomial-150", "beam-10-150", "beam-sampling-2-150"), settings.values(), strict=True))
    decodings["other"] = settings["greedy"]
    stages = {BEST: {"steps": 1, "method": "RLVF(format+accuracy+correction)"}}
    layout = Layout(make_config(stages, decodings=decodings, results=str(tmp_path / "results")))
    shutil.copytree(trained, layout.checkpoint(BEST))
    layout.manifest("dev").parent.mkdir()
    shutil.copy(tones, layout.manifest("dev"))
    return layout


def test_a_grid_is_what_a_table_compares(layout: Layout) -> None:
    names = ["multinomial-150", "beam-10-150", "beam-sampling-2-150"]
    assert grid_of(layout, BEST, "multinomial-150", "dev") == names
    assert grid_of(layout, BEST, "beam-10-150", "dev") == [names[1], names[0], names[2]]
    assert grid_of(layout, BEST, "beam-10-150", "test") == ["beam-10-150"]
    assert grid_of(layout, BEST, "other", "dev") == ["other"]


def test_jobs_of_a_grid_share_its_decodings(layout: Layout, languages, monkeypatch: pytest.MonkeyPatch) -> None:
    def grid(first: str) -> Grid:
        return Grid(layout, BEST, "dev", "all", grid_of(layout, BEST, first, "dev"))

    def output(name: str) -> Path:
        return layout.shard_hypotheses(BEST, name, "dev", "all")

    def missing(first: str) -> list[str]:
        return [kept.parts[-3] for kept, _ in grid(first).missing()]

    files = layout.checkpoint(BEST), layout.manifest("dev")
    kept, _ = next(grid("multinomial-150").missing())
    assert kept.parts[-3] == "beam-10-150"  # the most expensive
    with kept.with_suffix(".lock").open("a") as other_job:
        fcntl.flock(other_job, fcntl.LOCK_EX)
        # What another job is at is left to it.
        decode_with_all(*files, grid("multinomial-150").missing(), languages)
        assert grid("multinomial-150").collect(output("multinomial-150"))
    assert missing("beam-10-150") == ["beam-10-150"] * 2  # nobody has made it between the two times
    decode_with_all(*files, grid("beam-10-150").missing(), languages)
    for name in ("beam-10-150", "beam-sampling-2-150"):
        assert missing(name) == []
        assert grid(name).collect(output(name))
        assert not grid(name).collect(output(name))
        assert output(name).is_file()
    changed = layout.config.decodings | {"beam-10-150": DECODINGS["sampled.parquet"]}
    monkeypatch.setattr(layout, "config", layout.config.model_copy(update={"decodings": changed}))
    assert set(missing("multinomial-150")) == {"beam-10-150"}
