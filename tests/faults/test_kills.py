"""Whatever is killed, and wherever: the next run resumes, and ends in the same tables."""

from __future__ import annotations

import os
import re
import shutil
import signal
from functools import partial

import pytest
from kills import (
    LOG,
    all_killed_at_the_marker,
    all_killed_in_the_database,
    killed_in_decoding,
    killed_in_training,
    log_on_a_full_disk,
)
from toy_runs import Toy, flip

from mlcslm.errors import UserError
from mlcslm.results.database import open_database

pytestmark = pytest.mark.slow


def left_over(toy: Toy) -> list[str]:
    """Temporary files of killed processes, and partial hypotheses."""
    return [str(path.relative_to(toy.results)) for path in toy.results.rglob(".*")]


def test_killed_in_training_in_decoding_and_all_at_once(toy: Toy, undisturbed: Toy) -> None:
    toy.forget("ckpt-4000/dev", "ckpt-10000/dev", "ckpt-10000/test")
    toy.remove("checkpoints/ckpt-10000")
    training = partial(killed_in_training, 3)
    assert toy.run("--keep-going", in_jobs={"train": training, "decode": partial(killed_in_decoding, 2)}) != 0
    failed = re.findall(r"^(.*) failed \(log: ", toy.output, re.MULTILINE)
    assert set(failed) == {"train ckpt-10000", "decode ckpt-4000 greedy dev"}, toy.output
    (partial_file,) = (toy.results / "work" / "decoding").rglob("*.partial")
    with open(partial_file, "ab") as file:
        file.write(b'\xff\xfe{"utterance_id"\0\0\0')

    process = toy.start("--keep-going", in_jobs={"train": all_killed_at_the_marker})
    assert toy.wait(process) == -signal.SIGKILL
    assert "ckpt-10000: resuming from step 2 of 4" in toy.log("train/ckpt-10000")
    folder = toy.results / "checkpoints" / "ckpt-10000"
    assert (folder / "lm_lora.safetensors").exists()
    assert not (folder / "checkpoint.json").exists()
    (newest,) = (toy.results / "work" / "ckpt-10000").glob("*/checkpoint-4")
    flip(newest / "trained.safetensors")

    assert toy.run() == 0, toy.output
    assert f"{newest.relative_to(toy.root)}: skipped: damaged (trained.safetensors" in toy.output
    assert "ckpt-10000: resuming from step 2 of 4" in toy.log("train/ckpt-10000")
    assert toy.made() == undisturbed.made()
    assert not left_over(toy)


def test_killed_while_the_database_is_written(toy: Toy, undisturbed: Toy) -> None:
    """The one of before stays, whole; what lies beside it is cleared away by the next run."""
    toy.remove("tables")
    before = toy.changed(scoring={"bootstrap_samples": 200})
    assert before.wait(before.start(in_jobs={"database": all_killed_in_the_database})) == -signal.SIGKILL
    with open_database(toy.results / "results.duckdb") as connection:
        assert connection.execute("SELECT count(*) FROM table6").fetchall() != [(0,)]
    assert left_over(toy)
    assert toy.run() == 0, toy.output
    assert not left_over(toy)
    assert toy.made() == undisturbed.made()


def test_what_heals_by_itself(toy: Toy, undisturbed: Toy) -> None:
    """A checkpoint without its marker, a half-written database, a log's full disk, and Snakemake's records lost."""
    toy.forget("ckpt-4000/dev", "ckpt-10000/dev")
    toy.remove("checkpoints/ckpt-10000/checkpoint.json")
    shutil.rmtree(toy.root / ".snakemake")
    database = toy.results / "results.duckdb"
    os.truncate(database, database.stat().st_size // 3)
    database.with_name("results.duckdb.wal").write_bytes(b"half a log")
    with pytest.raises(UserError, match=r"results\.duckdb: truncated: .* run the workflow again"):
        open_database(database)
    assert toy.run(in_jobs={"decode": log_on_a_full_disk}) == 0, toy.output
    assert f"mlcslm: {LOG}: logging stopped (No space left on device); the job continues" in toy.output
    assert toy.made() == undisturbed.made()
    with open_database(database) as connection:
        assert connection.execute("SELECT count(*) FROM table6").fetchall() != [(0,)]
    assert not database.with_name("results.duckdb.wal").exists()


def test_snakemakes_records_damaged(toy: Toy, undisturbed: Toy) -> None:
    toy.forget("ckpt-4000/dev")
    records = [path for path in (toy.root / ".snakemake" / "metadata").rglob("*") if path.is_file()]
    assert records
    for path in records:
        path.write_bytes(b"\0\0\0\0")
    assert toy.run() == 0, toy.output
    assert toy.made() == undisturbed.made()
