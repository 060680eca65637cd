"""What `make demo` takes: wall-clock seconds times one core's speed, memory by job, and where the time goes.

On the results of a finished run, or (`--run`) on a run of its own, in a checkout without results:

    python benchmarks/demo.py                          # results/ as it is
    python benchmarks/demo.py --run                    # Table 6 from scratch
    python benchmarks/demo.py --run --target all       # all seven tables

A laptop without instructions for bfloat16 is imitated by setting `resources.cpu_precision: float32`, and
`ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2` for run and measurement alike.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reporting import Report, measure

from mlcslm.config.reading import read_config
from mlcslm.errors import UserError
from mlcslm.io.parquet import read_table
from mlcslm.plan.duration import Operations, PlannedJob, measure_speed
from mlcslm.plan.throughput import read_throughput
from mlcslm.plan.workload import split_sizes
from mlcslm.workflow.layout import Layout

GOALS = {"table6": 27_000.0, "all": 54_000.0}
"""GFLOP: seconds times GFLOP/s of one core's float32 product; 27,000 are 15 minutes at 30 GFLOP/s."""
MOST_MB = 2048.0
PAUSE_S = 300.0
"""A longer pause between two jobs separates two runs."""


@dataclass(frozen=True)
class Job:
    """A job as Snakemake measured it: its name, wall-clock and processor seconds, peak memory, and when it ended."""

    name: str
    seconds: float
    processor_s: float
    peak_mb: float
    ended: float

    @property
    def began(self) -> float:
        """When it began, in seconds of the epoch."""
        return self.ended - self.seconds


def read_jobs(folder: Path) -> list[Job]:
    """Jobs by Snakemake's benchmark files below `folder`, in the order of their ends. Raises UserError for none."""
    jobs = []
    for file in sorted(folder.rglob("*.tsv")):
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        if not rows:
            continue
        name = str(file.relative_to(folder).with_suffix(""))
        last = rows[-1]
        values = (_number(last.get(column)) for column in ("s", "cpu_time", "max_rss"))
        jobs.append(Job(name, *values, ended=file.stat().st_mtime))
    if not jobs:
        raise UserError(f"{folder}: no benchmark files; expected the results of a finished run.")
    return sorted(jobs, key=lambda job: job.ended)


def wall_clock(jobs: Iterable[Job]) -> tuple[float, bool]:
    """Seconds during which at least one job ran, with the pauses between them; and whether it was all one run.

    >>> wall_clock([Job("a", 10, 9, 1, ended=10.0), Job("b", 10, 9, 1, ended=18.0), Job("c", 5, 5, 1, ended=25.0)])
    (25.0, True)
    """
    total, end, whole = 0.0, None, True
    for job in sorted(jobs, key=lambda job: job.began):
        if end is None or job.began - end > PAUSE_S:
            whole = end is None
            end = job.began
        total += max(0.0, job.ended - end)
        end = max(end, job.ended)
    return total, whole


def _number(text: str | None) -> float:
    """A measurement; `-` and `NA` are of jobs too short for one."""
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def training_shares(layout: Layout, jobs: Iterable[Job], gflops: float) -> dict[str, dict[str, float]]:
    """By stage: seconds per step, TFLOP of all its steps by the plan's formulas, share of the product's speed."""
    throughput = read_throughput("config/throughput.yaml")
    operations = Operations(layout.config, throughput, dict(split_sizes(layout, throughput.corpus).items()))
    shares = {}
    for job in jobs:
        rule, _, stage = job.name.partition("/")
        if rule != "train" or stage not in layout.config.stages or not layout.training_log(stage).is_file():
            continue
        seconds = max(read_table(layout.training_log(stage), ["seconds"])["seconds"].to_pylist(), default=0.0)
        flops = operations.of(PlannedJob(0, "train", {"checkpoint": stage}))
        shares[stage] = {
            "step_s": seconds / layout.config.stages[stage].steps,
            "training_s": seconds,
            "tflop": flops / 1e12,
            "share": flops / (seconds * gflops * 1e9) if seconds else 0.0,
        }
    return shares


def run(options: argparse.Namespace) -> Report:
    """Measure a run, new or finished."""
    config = read_config(str(options.config))
    if options.results:
        config = config.model_copy(update={"results": str(options.results)})
    layout = Layout(config)
    elapsed = None
    if options.run:
        if options.results:
            raise UserError("--results is of a finished run, --run makes one: give only one of them.")
        if layout.database().exists():
            raise UserError(f"{layout.root}: results exist already. Measure in a new checkout, or without --run.")
        targets = ["all", str(layout.report())] if options.target == "all" else [str(layout.table(options.target))]
        command = [sys.executable, "-m", "snakemake", *targets, "--cores", "all", "--configfile", str(options.config)]
        begun = time.monotonic()
        if subprocess.run(command, check=False).returncode:
            raise UserError("the run failed; nothing is measured.")
        elapsed = time.monotonic() - begun
    jobs = read_jobs(layout.root / "benchmarks")
    seconds, whole = wall_clock(jobs)
    speed = measure_speed("float32")
    native = measure_speed(config.resources.cpu_precision)
    gflops = speed.flops / 1e9
    taken = seconds if elapsed is None else elapsed
    return {
        "target": options.target,
        "seconds": taken,
        "one_run": whole,
        "gflops_float32": gflops,
        "training_dtype": native.dtype,
        "gflops_training": native.flops / 1e9,
        "measure": taken * gflops,
        "goal": GOALS.get(options.target),
        "peak_mb": max(job.peak_mb for job in jobs),
        "jobs": [{"name": job.name, "s": job.seconds, "cpu_s": job.processor_s, "mb": job.peak_mb} for job in jobs],
        "training": training_shares(layout, jobs, native.flops / 1e9),
    }


def readable(report: Report) -> Iterator[str]:
    """The report as lines."""
    goal = report["goal"]
    yield (
        f"{report['seconds']:.0f} s x {report['gflops_float32']:.0f} GFLOP/s (one core, 1024 x 1024, float32) = "
        f"{report['measure']:,.0f}" + (f" (goal: at most {goal:,.0f})" if goal else "")
    )
    if not report["one_run"]:
        yield "the results are of several runs: the seconds are those with jobs under way"
    yield f"peak memory of a job: {report['peak_mb']:.0f} MB (goal: at most {MOST_MB:.0f})"
    yield f"{'job':60} {'s':>8} {'cpu s':>8} {'MB':>6}"
    jobs: list[dict[str, Any]] = sorted(report["jobs"], key=lambda job: -job["s"])
    for job in jobs[:20]:
        yield f"{job['name'][:60]:60} {job['s']:8.1f} {job['cpu_s']:8.1f} {job['mb']:6.0f}"
    if jobs[20:]:
        rest = jobs[20:]
        yield f"{f'{len(rest)} others':60} {sum(j['s'] for j in rest):8.1f} {sum(j['cpu_s'] for j in rest):8.1f}"
    yield (
        f"share of one core's product in {report['training_dtype']} ({report['gflops_training']:.0f} GFLOP/s) "
        "that training reaches:"
    )
    for stage, found in report["training"].items():
        yield f"  {stage:50} {found['step_s']:7.3f} s a step {found['tflop']:8.2f} TFLOP {found['share']:6.2f}"
    total, seconds = (sum(found[key] for found in report["training"].values()) for key in ("tflop", "training_s"))
    if seconds:
        yield f"  {'together':50} {'':16} {total:8.2f} TFLOP {total * 1e3 / (seconds * report['gflops_training']):6.2f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("config/demo.yaml"))
    parser.add_argument("--results", type=Path, help="results folder of a finished run, instead of the configuration's")
    parser.add_argument("--run", action="store_true", help="run it first, from scratch")
    parser.add_argument("--target", default="table6", help="table6 (the default), another table, or all")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/demo.json"))
    arguments = parser.parse_args()
    measure(run, arguments, readable, arguments.out)
