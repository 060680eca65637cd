"""Steps of a preset's stages and decodings, measured at full size with random weights.

Tokens per second, share of the GPU's peak and peak memory, beside the estimates of `mlcslm plan`. One GPU; at toy size
it runs on a CPU. benchmarks/README.md says how to run it, docs/plan.md has the results.
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fullsize_steps import Bench
from reporting import measure

from mlcslm.plan.throughput import GIB

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    measure(run, options, readable, options.out)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure as the options say; returns the report that becomes JSON."""
    bench = Bench(options)
    report = {
        "date": datetime.date.today().isoformat(),
        "machine": bench.machine(),
        "preset": bench.config.preset,
        "shapes": {"encoder": bench.shapes.sources[0], "language_model": bench.shapes.sources[1]},
        "seconds": options.seconds,
        "max_duration_s": options.longest,
        "steps": options.steps,
    } | bench.measure()
    return report | {"shares": measured_shares(report)}


def measured_shares(report: Mapping[str, Any]) -> dict[str, Any]:
    """The measured part of a GPU's `shares` in config/throughput.yaml; empty on a CPU."""
    machine = report["machine"]
    if machine["peak_tflops"] is None:
        return {}
    shares: dict[str, Any] = {"source": f"measured {report['date']}, {machine['device']}, torch {machine['torch']}"}
    for key, adapters in (("training", False), ("training_adapters", True)):
        found = [
            stage["share_of_peak"]
            for stage in report["stages"].values()
            if stage.get("kind") == "supervised" and stage["adapters"] == adapters
        ]
        if found:
            shares[key] = round(sum(found) / len(found), 3)
    steps = [one["step_ms"] for one in report["decodings"].values() if "step_ms" in one and one["beams"] == 1]
    if steps:
        shares["step_ms"] = round(min(steps), 1)
    return shares


def readable(report: Mapping[str, Any]) -> Iterator[str]:
    """The report as lines of text."""
    machine = report["machine"]
    yield f"{report['date']}: {machine['device']}, {machine['dtype']}, torch {machine['torch']}, CUDA {machine['cuda']}"
    yield f"{report['preset']}: utterances of {report['seconds']} s; memory at {report['max_duration_s']} s"
    yield ""
    yield f"{'stage':52}{'s/step':>9}{'planned':>9}{'tokens/s':>10}{'of peak':>9}{'peak GiB':>10}{'planned':>9}"
    for name, one in report["stages"].items():
        if "out_of_memory" in one:
            yield f"{name:52}  does not fit: {one['out_of_memory']}"
            continue
        yield (
            f"{name:52}{one['seconds_a_step']:9.3f}{one['planned_seconds_a_step']:9.3f}{one['tokens_a_second']:10,.0f}"
            f"{_share(one['share_of_peak']):>9}{_gib(one['peak_bytes']):>10}{_gib(one['planned_peak_bytes']):>9}"
        )
    yield ""
    yield (
        f"{'decoding':30}{'batch':>6}{'beams':>6}{'ms/step':>9}{'utt/s':>8}{'of peak':>9}{'peak GiB':>10}{'planned':>9}"
    )
    for name, one in report["decodings"].items():
        if "out_of_memory" in one:
            yield f"{name:30}  does not fit: {one['out_of_memory']}"
            continue
        yield (
            f"{name:30}{one['batch']:6}{one['beams']:6}{one['step_ms']:9.1f}{one['utterances_a_second']:8.2f}"
            f"{_share(one['share_of_peak']):>9}{_gib(one['peak_bytes']):>10}{_gib(one['planned_peak_bytes']):>9}"
        )
    if report["shares"]:
        yield "\nfor config/throughput.yaml:\n    shares:"
        yield from (f"      {key}: {value}" for key, value in report["shares"].items())


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _gib(size: int | None) -> str:
    return "-" if size is None else f"{size / GIB:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", type=Path, default=ROOT / "config" / "paper.yaml", help="preset (default config/paper.yaml)")
    add("--throughput", type=Path, default=ROOT / "config" / "throughput.yaml", help="throughput table")
    add("--gpu", help="GPU of the throughput table (default: the table's choice)")
    add("--encoder", help="folder or hub id with the encoder's shape, instead of the preset's")
    add("--language-model", help="folder or hub id with the language model's shape, likewise")
    add("--stages", nargs="*", help="stages of the preset (default: the first of those that train alike)")
    add("--decodings", nargs="*", help="decodings of the preset (default: the first of each method)")
    add(
        "--compiled",
        action="store_true",
        help="decode with compiled steps, as resources.compile_decoding does on a GPU",
    )
    add("--seconds", type=float, default=3.87, help="length of timed utterances (default 3.87)")
    add("--longest", type=float, default=18.2, help="length of utterances for measuring memory (default 18.2)")
    add("--steps", type=int, default=3, help="timed steps, after one warm-up step (default 3)")
    add("--out", type=Path, default=Path("results/benchmarks/fullsize.json"), help="JSON to write")
    return parser


if __name__ == "__main__":
    main()
