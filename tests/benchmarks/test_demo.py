"""The demo's benchmark on made-up measurements of Snakemake: sums, runs and shares by hand."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # --import-mode=importlib finds nothing beside a conftest
from forked import run_program

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "demo.py"
HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def job(results: Path, name: str, seconds: float, memory: str, ended: float) -> None:
    file = results / "benchmarks" / f"{name}.tsv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{HEAD}{seconds}\t0:00:10\t{memory}\t0\t0\t0\t0\t0\t90\t{seconds / 2}\n", encoding="utf-8")
    os.utime(file, (ended, ended))


@pytest.mark.slow
def test_a_finished_run_is_measured_by_what_snakemake_left(tmp_path: Path) -> None:
    results = tmp_path / "results"
    job(results, "train/ckpt-2000", 100.0, "550.5", 1100.0)
    job(results, "decode/ckpt-2000/greedy/dev/all", 20.0, "700.0", 1110.0)  # beside the training
    job(results, "manifest/dev", 30.0, "-", 1140.0)
    job(results, "table/table6", 5.0, "NA", 9000.0)  # of another run
    folder = results / "checkpoints" / "ckpt-2000"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"seconds": [40.0, 80.0]}), folder / "training_log.parquet")
    out = tmp_path / "out.json"
    done = run_program(SCRIPT, "--results", results, "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text("utf-8"))
    assert (found["seconds"], found["one_run"], found["peak_mb"]) == (145.0, False, 700.0)
    assert found["measure"] == pytest.approx(145.0 * found["gflops_float32"])
    stage = found["training"]["ckpt-2000"]
    assert stage["share"] == pytest.approx(1e3 * stage["tflop"] / (80.0 * found["gflops_training"]))
    assert "manifest/dev" in done.stdout


@pytest.mark.slow
def test_results_without_measurements_are_refused(tmp_path: Path) -> None:
    done = run_program(SCRIPT, "--results", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("demo: ") and "no benchmark files" in done.stderr
