"""From conversations to Table 6 through Snakemake: complete, done once, and the same after a kill."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from mlcslm.io.files import sha256

VALUES = ("dev", "dev_low", "dev_high", "dev_published", "test", "test_low", "test_high", "test_published")
CHECKPOINTS = ("baseline-1", "baseline-2", "ckpt-2000", "ckpt-4000", "ckpt-7000", "ckpt-9000", "ckpt-10000")
SYSTEMS = ("baseline-2", "ckpt-4000", "ckpt-7000", "ckpt-10000")
ENCODERS = ("foundation", "ckpt-7000")
DECODED = 11  # splits: the systems on dev and test, their three other ancestors on dev
# Jobs that other reflections cause, and another training set.
TABLE = {"database": 1, "table": 1}


def measured(count: int) -> dict[str, int]:
    """Jobs that measure this many systems again, and build the table."""
    return dict.fromkeys(("decode", "merge_hypotheses", "score"), count) | TABLE


REASONED = measured(3) | {"reasoning_data": 1, "train": 2}
ANEW = measured(DECODED) | {"reasoning_data": 1, "decode_training_set": 1, "train": 7}


def test_table_6_is_complete(finished: Any) -> None:
    with finished.table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["checkpoint", "method", *VALUES]
    assert [row["checkpoint"] for row in rows] == ["baseline", "ckpt-4000", "ckpt-7000", "ckpt-10000"]
    assert [(row["dev_published"], row["test_published"]) for row in rows] == [
        ("21.49", "20.17"),
        ("18.99", "20.29"),
        ("15.48", "13.86"),
        ("13.42", "12.26"),
    ]
    for row, system in zip(rows, SYSTEMS, strict=True):
        for split in ("dev", "test"):
            counts = pq.read_table(finished.results / "scores" / system / "greedy" / f"{split}.parquet").to_pydict()
            assert len(counts["utterance_id"]) == 3 * 4
            assert row[split] == f"{100 * sum(counts['errors']) / sum(counts['length']):.2f}"
            assert row[f"{split}_low"] == row[f"{split}_high"] == "", "three sessions are too few for an interval"
    readable = finished.table.with_suffix(".md").read_text(encoding="utf-8")
    assert all(row["dev"] in readable for row in rows)


def test_every_stage_has_its_checkpoint_and_its_log(finished: Any) -> None:
    parents = {name: finished.config["stages"][name]["parent"] for name in CHECKPOINTS}
    for name, parent in parents.items():
        folder = finished.results / "checkpoints" / name
        info = json.loads((folder / "checkpoint.json").read_text())
        assert (info["name"], info["parent"]) == (name, parent)
        assert info["files"] == {path.name: sha256(path) for path in folder.glob("*.safetensors")}
        steps = pq.read_table(folder / "training_log.parquet")["step"].to_pylist()
        assert steps == list(range(1, finished.config["stages"][name]["steps"] + 1))
    # Cached are the outputs of each encoder that stages use as it is: the foundation's, and the one ckpt-7000 adapts.
    folders = {path.parent.relative_to(finished.results) for path in finished.results.glob("features/*/*/cache.json")}
    assert folders == {Path("features", name, split) for name in ENCODERS for split in ("train", "dev", "test")}


def test_the_database_holds_all_that_was_measured(finished: Any) -> None:
    with duckdb.connect(finished.results / "results.duckdb", read_only=True) as database:
        hypotheses = database.execute("SELECT count(*) FROM hypotheses").fetchall()
        systems = database.execute("SELECT DISTINCT system FROM wer_by_group ORDER BY 1").fetchall()
    assert hypotheses == [(12 * DECODED,)]
    assert {name for (name,) in systems} == {f"{name}/greedy" for name in CHECKPOINTS}


def test_reflections_are_on_what_was_sampled_from_noisy_training_speech(finished: Any) -> None:
    folder = finished.results / "reasoning"
    manifest = pq.read_table(finished.results / "manifests" / "train.parquet")["utterance_id"]
    heard = pq.read_table(folder / "hypotheses" / "ckpt-7000" / "all.parquet")
    assert heard["utterance_id"] == pq.read_table(folder / "reasoning.parquet")["utterance_id"] == manifest
    provenance = {
        key.decode(): json.loads(value) for key, value in heard.schema.metadata.items() if key != b"checkpoint"
    }
    assert provenance["decoding"]["method"] == "multinomial"
    assert provenance["noise"][0] == [0, 10]
    assert "reasoning data: 12 hypotheses" in (finished.results / "logs" / "reasoning_data.log").read_text()


def test_logs_of_jobs_say_what_they_did(finished: Any) -> None:
    logs = finished.results / "logs"
    assert "ckpt-4000: 100%" in (logs / "train" / "ckpt-4000.log").read_text()
    assert "decoding ckpt-4000 dev" in (logs / "decode" / "ckpt-4000" / "greedy" / "dev" / "all.log").read_text()


def test_nothing_temporary_is_left(finished: Any) -> None:
    hidden = [path for path in finished.results.rglob(".*") if path.name != ".gitkeep"]
    assert not hidden
    assert {path.suffix for path in (finished.results / "work").rglob("*") if path.is_file()} == {".lock"}


def test_a_second_run_has_nothing_to_do(finished: Any) -> None:
    before = finished.table.stat().st_mtime_ns
    assert "Nothing to be done" in finished.run().stdout
    assert finished.planned(finished.results / "results.duckdb") == {}
    assert finished.table.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"decodings.greedy.max_new_tokens": 61}, measured(DECODED)),
        ({"decodings.beam.max_new_tokens": 61}, {}),
        ({"decodings.sampled.temperature": 2}, REASONED | {"decode_training_set": 1}),
        ({"reasoning.snr_db": [0, 5]}, REASONED | {"decode_training_set": 1}),
        ({"reasoning.max_details": 2}, REASONED),
        ({"stages.ckpt-10000.prompt_loss_weight.last": 0.2}, measured(2) | {"train": 1}),
        ({"scoring.protocol": "whisper-norm"}, TABLE | {"score": DECODED}),
        ({"scoring.bootstrap_samples": 200}, TABLE),
        (
            {"stages.ckpt-7000.steps": 4},
            REASONED | measured(5) | {"decode_training_set": 1, "train": 3, "encoder_cache": 3},
        ),
        ({"stages.baseline-1.learning_rate": 1e-4}, measured(3) | {"train": 2}),
        # The foundation's outputs on clean dev and test stay; those of an encoder that is adapted anew do not.
        ({"augmentation.probability": 0.5}, ANEW | {"encoder_cache": 1 + 3}),
        ({"resources.training_threads": 2, "preset": "renamed"}, {}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_change_reruns_what_depends_on_it_and_no_more(finished: Any, changes: dict, expected: dict) -> None:
    planned = finished.changed(changes).planned()
    planned.pop("all", None)
    planned.pop("total", None)
    assert planned == expected


def test_another_languages_table_rebuilds_everything(finished: Any, tmp_path: Path) -> None:
    """Its groups are those of the corpus, its prompts those of the training."""
    languages_table = Path(finished.config["languages"]).read_text(encoding="utf-8")
    (tmp_path / "languages.tsv").write_text(languages_table.replace("Transcrivez", "Notez"), encoding="utf-8")
    planned = finished.changed({"languages": str(tmp_path / "languages.tsv")}).planned()
    expected = ANEW | {"demo_corpus": 1, "manifest": 3, "encoder_cache": 3 * len(ENCODERS)}
    assert expected.items() <= planned.items()


def test_shards_decode_what_one_job_decodes(finished: Any, tmp_path: Path) -> None:
    sharded = finished.copied(tmp_path).changed({"resources.languages_per_shard": 2})
    hypotheses = Path("hypotheses", "ckpt-4000", "greedy", "dev.parquet")
    (tmp_path / "results" / hypotheses).unlink()
    assert sharded.planned(tmp_path / "results" / hypotheses) == {"decode": 2, "merge_hypotheses": 1}
    sharded.run(tmp_path / "results" / hypotheses)
    shards = tmp_path / "results" / hypotheses.with_suffix("")
    assert {path.stem for path in shards.glob("*.parquet")} == {"all", "English-American", "Thai"}
    assert rows_of(tmp_path / "results" / hypotheses) == rows_of(finished.results / hypotheses)


def rows_of(hypotheses: Path) -> list[dict]:
    return pq.read_table(hypotheses).drop_columns("seconds").to_pylist()


def wait_for(condition: Callable[[], Any], process: subprocess.Popen, toy: Any) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        assert process.poll() is None, (toy.root / "output.txt").read_text()
        time.sleep(0.005)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def test_killed_in_training_and_in_decoding_the_results_are_the_same(finished: Any, tmp_path: Path) -> None:
    toy = finished.copied(tmp_path)
    for name in ("ckpt-4000", "ckpt-7000"):
        for kind in ("checkpoints", "hypotheses", "scores"):
            shutil.rmtree(toy.results / kind / name)
        shutil.rmtree(toy.results / "logs" / "decode" / name)
    shutil.rmtree(toy.results / "tables")
    (toy.results / "results.duckdb").unlink()
    checkpoint = toy.results / "checkpoints" / "ckpt-4000" / "checkpoint.json"

    training = toy.start()
    work = toy.results / "work" / "ckpt-4000"
    wait_for(lambda: any(text_of(log).count("\n") >= 12 for log in work.glob("*/log.jsonl")), training, toy)
    toy.kill(training)
    assert not checkpoint.exists()
    assert list(work.glob("*/checkpoint-*/whole"))

    decoding = toy.start()
    log = toy.results / "logs" / "decode" / "ckpt-4000" / "greedy" / "dev" / "all.log"
    wait_for(lambda: "decoding ckpt-4000 dev" in text_of(log), decoding, toy)
    toy.kill(decoding)
    assert checkpoint.exists()
    assert not (toy.results / "hypotheses" / "ckpt-4000" / "greedy" / "dev" / "all.parquet").exists()
    assert "ckpt-4000: resuming from step" in (toy.results / "logs" / "train" / "ckpt-4000.log").read_text()

    toy.run(forked=False)
    for name in CHECKPOINTS:
        theirs, ours = (place.results / "checkpoints" / name for place in (finished, toy))
        files = {path.name for path in theirs.iterdir()}
        assert files == {path.name for path in ours.iterdir()}
        for file in files - {"training_log.parquet"}:
            assert sha256(ours / file) == sha256(theirs / file), f"{name}/{file}"
        losses = [pq.read_table(folder / "training_log.parquet").select(["step", "loss"]) for folder in (theirs, ours)]
        assert losses[0] == losses[1]
    for path in finished.results.glob("hypotheses/*/greedy/*.parquet"):
        assert rows_of(toy.results / path.relative_to(finished.results)) == rows_of(path)
    assert toy.table.read_bytes() == finished.table.read_bytes()
    assert "Nothing to be done" in toy.run().stdout
