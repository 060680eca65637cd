"""Time of `mlcslm score tcpwer` against the meeteval command-line calls that the challenge's script makes.

The script calls `meeteval-wer tcpwer` once for all recordings and once per language, one after the other. Both sides
read the same STM files, already normalised and split into tokens, and must count the same errors.
benchmarks/README.md says how to run it, docs/benchmarks.md has the results.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from random_sessions import Rates, read_rates, read_utterances, synthetic_utterances, write_sides
from reporting import measure

from mlcslm.config.languages import read_languages
from mlcslm.errors import UserError
from mlcslm.formats.segments import by_recording
from mlcslm.formats.stm import write_stm

ROOT = Path(__file__).parents[1]
LANGUAGES = ROOT / "config" / "languages.tsv"
COUNTS = ("errors", "length", "insertions", "deletions", "substitutions")
PER_LANGUAGE, ALL, OURS = "meeteval-wer, one call per language", "meeteval-wer, one call on all", "mlcslm score tcpwer"
BREAKDOWN = "mlcslm score tcpwer --breakdown"


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    out = options.out or ROOT / "results" / "benchmarks" / "diarization-scoring.json"
    measure(run, options, readable, out)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time both sides alternately; returns the report that becomes JSON. Raises RuntimeError if their counts differ."""
    groups = read_languages(LANGUAGES)
    rng = random.Random(options.seed)
    if options.utterances:
        recordings = read_utterances(options.utterances, groups)
        step = max(1, len(recordings) // options.sessions)
        chosen = list(recordings)[::step][: options.sessions]
        recordings = {recording: recordings[recording] for recording in chosen}
    else:
        recordings = synthetic_utterances(options.sessions, groups, rng)
    rates: dict[str, Rates] = read_rates(options.rates) if options.rates else {}
    reference, hypothesis = write_sides(recordings, rates, groups, rng)
    rounds: list[dict[str, tuple[float, float]]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sides = {"ref": by_recording(reference), "hyp": by_recording(hypothesis)}
        prefixes = list(dict.fromkeys(recording.split("_")[0] for recording in recordings))
        for side, spoken in sides.items():
            write_stm(folder / f"{side}.stm", (u for said in spoken.values() for u in said))
            for prefix in prefixes:
                said = (u for r, utterances in spoken.items() if r.split("_")[0] == prefix for u in utterances)
                write_stm(folder / f"{side}{prefix}.stm", said)
        for _ in range(options.rounds):
            rounds.append(
                {
                    OURS: _ours(folder, options.jobs),
                    BREAKDOWN: _ours(folder, options.jobs, "--breakdown"),
                    PER_LANGUAGE: _meeteval(folder, prefixes),
                    ALL: _meeteval(folder, [""]),
                }
            )
        counts = _check(folder)
    return {
        "date": datetime.date.today().isoformat(),
        "machine": {"cores": len(os.sched_getaffinity(0)), "processor": platform.machine()},
        "load_average": os.getloadavg(),
        "versions": {name: version(name) for name in ("meeteval", "rapidfuzz", "numpy")},
        "python": platform.python_version(),
        "recordings": len(recordings),
        "groups": len(prefixes),
        "utterances": len(reference),
        "jobs": options.jobs,
        **counts,
        "elapsed_s": {variant: [times[variant][0] for times in rounds] for variant in rounds[0]},
        "cpu_s": {variant: [times[variant][1] for times in rounds] for variant in rounds[0]},
    }


def readable(report: dict[str, Any]) -> list[str]:
    """The report as lines for the terminal: medians over rounds, and by what factor ours is faster."""
    elapsed = {variant: median(times) for variant, times in report["elapsed_s"].items()}
    cpu = {variant: median(times) for variant, times in report["cpu_s"].items()}
    elapsed["the script's calls: per language and on all"] = elapsed[PER_LANGUAGE] + elapsed[ALL]
    cpu["the script's calls: per language and on all"] = cpu[PER_LANGUAGE] + cpu[ALL]
    lines = [
        f"{report['recordings']} recordings in {report['groups']} groups, {report['utterances']} utterances, "
        f"{report['length']} tokens, {report['errors'] / report['length']:.2%} tcpWER; {report['jobs']} processes on "
        f"{report['machine']['cores']} cores, load {report['load_average'][0]:.1f}",
        f"{'':45}{'elapsed':>10}{'CPU':>10}{'ours faster':>13}{'by CPU':>9}",
    ]
    for variant, seconds in elapsed.items():
        ratios = f"{seconds / elapsed[OURS]:12.1f}x{cpu[variant] / cpu[OURS]:8.1f}x"
        lines.append(f"{variant:45}{seconds:9.1f}s{cpu[variant]:9.1f}s{ratios}")
    return lines


def _ours(folder: Path, jobs: int, *options: str) -> tuple[float, float]:
    command = "import sys; from mlcslm.cli import main; sys.argv[0] = 'mlcslm'; main()"
    arguments = ["score", "tcpwer", "ref.stm", "hyp.stm", "--languages", str(LANGUAGES), "--jobs", str(jobs), *options]
    return _time([[sys.executable, "-c", command, *arguments]], folder, folder / "ours.json")


def _meeteval(folder: Path, prefixes: Sequence[str]) -> tuple[float, float]:
    program = str(Path(sys.executable).with_name("meeteval-wer"))
    calls = [
        [program, "tcpwer", "-r", f"ref{prefix}.stm", "-h", f"hyp{prefix}.stm", "--collar", "5"] for prefix in prefixes
    ]
    return _time(calls, folder, folder / "meeteval.log")


def _time(commands: Sequence[Sequence[str]], folder: Path, output: Path) -> tuple[float, float]:
    """Elapsed and CPU seconds of `commands`, run one after the other in `folder`."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with output.open("w") as stdout, (folder / "errors.log").open("w") as errors:
        for command in commands:
            # Children's CPU time only counts once they have been waited for, as `run` does.
            result = subprocess.run(command, cwd=folder, stdout=stdout, stderr=errors, check=False)
            if result.returncode:
                raise UserError(f"{' '.join(command[:3])} failed:\n{(folder / 'errors.log').read_text()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _check(folder: Path) -> dict[str, int]:
    """Counts of all recordings; raises RuntimeError if ours and meeteval's differ in any."""
    ours = json.loads((folder / "ours.json").read_text(encoding="utf-8"))
    theirs = json.loads((folder / "hyp_tcpwer_per_reco.json").read_text(encoding="utf-8"))
    for recording, counts in theirs.items():
        found = {name: ours["sessions"][recording][name] for name in COUNTS}
        if found != {name: counts[name] for name in COUNTS}:
            raise RuntimeError(f"{recording}: found {found}, meeteval counts {counts}")
    return {name: ours[name] for name in COUNTS}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--utterances", type=Path, help="CSV (or .csv.gz) with the utterances' ids and lengths; default: synthetic")
    add("--rates", type=Path, help="CSV (or .csv.gz) of tcpWER counts per recording, to draw error rates from")
    add("--sessions", type=int, default=110, help="number of recordings, evenly sampled (default 110)")
    add(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="our number of processes (default: one per core)"
    )
    add("--rounds", type=int, default=3, help="how often to measure everything (default 3)")
    add("--seed", type=int, default=17, help="seed of the words and errors (default 17)")
    add("--out", type=Path, help="JSON to write (default results/benchmarks/diarization-scoring.json)")
    return parser


if __name__ == "__main__":
    main()
