"""How much faster training steps are on several GPUs, by simulation: how evenly a plan's micro-batches are dealt.

A micro-batch takes as long as its padded batch, its longest utterance times its size, and a step as long as the process
that has the most to do. Counted by seconds of speech alone, and with the fixed tokens of prompts and answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reporting import measure
from sampling import read_lengths, synthetic_lengths

from mlcslm.config.languages import read_languages
from mlcslm.plan.scaling import micro_batches, slowest
from mlcslm.training.batches import TEXT_S

ROOT = Path(__file__).parents[1]
PLANS = {"as drawn": False, "cut evenly": True}


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    measure(run, options, readable, options.out or ROOT / "results" / "benchmarks" / "balance.json")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Simulate one pass; returns the report that becomes JSON."""
    languages = read_languages(ROOT / "config" / "languages.tsv")
    utterances = read_lengths(options.lengths, languages) if options.lengths else synthetic_lengths(languages, 17)
    lengths = [utterance.seconds for utterance in utterances]
    report: dict[str, Any] = {"utterances": len(lengths), "batch_size": options.batch_size, "speedups": {}}
    report["accumulation"] = options.accumulation
    for name, is_even in PLANS.items():
        steps = list(micro_batches(lengths, options.batch_size, options.accumulation, even=is_even))
        for text_s in (0.0, TEXT_S):
            costs = [[len(batch) * (max(batch) + text_s) for batch in step] for step in steps]
            alone = sum(map(sum, costs))
            report["speedups"][f"{name}, {text_s:g} s of text"] = {
                "alone_s": alone,
                **{count: alone / sum(slowest(step, count) for step in costs) for count in options.processes},
            }
        report[f"largest batch, {name}, s"] = max(len(batch) * max(batch) for step in steps for batch in step)
    return report


def readable(report: dict[str, Any]) -> list[str]:
    """The report as lines of text."""
    size, accumulation = report["batch_size"], report["accumulation"]
    lines = [f"{report['utterances']} utterances in steps of {accumulation} micro-batches of {size}"]
    for name, speedups in report["speedups"].items():
        times = ", ".join(f"{times:.2f} with {count}" for count, times in speedups.items() if count != "alone_s")
        lines.append(f"{name + ':':28} times as fast as one GPU: {times}")
    sizes = ", ".join(f"{name} {report[f'largest batch, {name}, s']:.0f} s" for name in PLANS)
    return [*lines, f"largest padded micro-batch: {sizes}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--lengths", type=Path, help="CSV with columns group, utterance_id, length, plain or .gz (default: synthetic)")
    add("--batch-size", type=int, default=8, help="utterances per micro-batch (default 8)")
    add("--accumulation", type=int, default=16, help="micro-batches per step (default 16)")
    add("--processes", type=int, nargs="+", default=[2, 4, 8], help="numbers of GPUs (default 2 4 8)")
    add("--out", type=Path, help="JSON file (default results/benchmarks/balance.json)")
    return parser


if __name__ == "__main__":
    main()
