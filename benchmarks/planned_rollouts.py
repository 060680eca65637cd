"""What a preset's reinforcement costs by the plan, with rollouts as they are and as they once were.

Once: by `generate`, in chunks of the training micro-batch, with unmerged adapters, each prompt read once per row.
Counts only, no GPU: `python benchmarks/planned_rollouts.py [config/paper.yaml]`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mlcslm.config.reading import read_config
from mlcslm.config.stages import Part, ReinforcementConfig
from mlcslm.plan.generation import Generating, Sampling, Work
from mlcslm.plan.micro_batch import Meter
from mlcslm.plan.plan import make_plan
from mlcslm.plan.throughput import Gpu


def main(arguments: list[str]) -> None:
    """Print GPU hours of each reinforcement stage, of all, and of the whole plan."""
    config = read_config(arguments[0] if arguments else str(Path(__file__).parents[1] / "config" / "paper.yaml"))
    plan = make_plan(config)
    meter, mean_s, text = Meter(plan.shapes, config.models), plan.splits["train"].mean_s, plan.throughput.text
    now_h = before_h = 0.0
    for one in plan.stages:
        stage = config.stages[one.name]
        if not isinstance(stage, ReinforcementConfig):
            continue
        parts: tuple[Part, ...] = tuple(stage.trains)
        answer = min(round(1.5 * text.answer_tokens(stage.template, mean_s)), stage.max_new_tokens)
        sampling = Sampling(meter, stage, parts, text.prompt[stage.template], cached=False)
        now = sampling.work(one.utterances, mean_s, answer, plan.gpu).seconds
        before = chunked(sampling, one.utterances, mean_s, answer, plan.gpu).seconds
        hours = one.steps * (one.seconds - now + before) / 3600
        print(
            f"{one.name}: sampling {before:.1f} s a step before, {now:.1f} now; {hours:.1f} and {one.gpu_hours:.1f} h"
        )
        now_h, before_h = now_h + one.gpu_hours, before_h + hours
    total = sum(plan.gpu_hours.values())
    print(f"reinforcement: {before_h:.1f} h before, {now_h:.1f} h now: {now_h / before_h:.0%}")
    print(f"all jobs: {total - now_h + before_h:.1f} h before, {total:.1f} h now, on {plan.gpu.name}")


def chunked(sampling: Sampling, utterances: int, seconds: float, answer: int, gpu: Gpu) -> Work:
    """The same answers by `generate`."""
    stage, total = sampling.stage, Work(0.0, 0.0)
    for rows in filter(None, (stage.rollouts - stage.beam_rollouts, stage.beams if stage.beam_rollouts else 0)):
        chunk = Generating(sampling.meter, sampling.parts, stage.batch_size, rows, sampling.prompt)
        total += chunk.work(seconds, answer, gpu).scaled(utterances / stage.batch_size)
    return total


if __name__ == "__main__":
    main(sys.argv[1:])
