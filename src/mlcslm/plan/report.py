"""A plan as text, Markdown or JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mlcslm.plan.plan import Plan
from mlcslm.plan.stages import StagePlan
from mlcslm.plan.throughput import GIB
from mlcslm.plan.workload import ASSUMED

Rows = list[list[str]]
"""A table's cells, header row first."""
_UNITS = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6))


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading, a table whose first `labels` columns are text, and notes on it."""

    title: str
    rows: Rows
    notes: tuple[str, ...] = ()
    labels: int = 1


def sections(plan: Plan) -> list[Section]:
    """The plan's tables."""
    return [_parameters(plan), _memory(plan), _work(plan), _decoding(plan), _jobs(plan)]


def as_text(plan: Plan) -> str:
    """The plan for a terminal."""
    lines = [*_heading(plan)]
    for section in sections(plan):
        widths = [max(map(len, column)) for column in zip(*section.rows, strict=True)]
        lines += ["", section.title]
        lines += ["  " + _aligned(row, widths, section.labels) for row in section.rows]
        lines += [f"  {note}" for note in section.notes]
    return "\n".join(lines)


def as_markdown(plan: Plan) -> str:
    """The plan for a document: the same tables."""
    lines = [f"{line}  " for line in _heading(plan)]
    for section in sections(plan):
        head, *body = section.rows
        rule = ["---" if column < section.labels else "---:" for column in range(len(head))]
        lines += ["", f"### {section.title}", ""]
        lines += [f"| {' | '.join(row)} |" for row in (head, rule, *body)]
        lines += ["", *(f"- {note}" for note in section.notes)]
    return "\n".join(lines).rstrip()


def as_json(plan: Plan) -> str:
    """The plan for programs: unrounded numbers, memory in bytes."""
    values: dict[str, Any] = {
        "preset": plan.config.preset,
        "encoder": plan.shapes.sources[0],
        "language_model": plan.shapes.sources[1],
        "added_tokens": plan.shapes.added_tokens,
        "gpu": plan.gpu.model_dump(mode="json"),
        "splits": {name: dataclasses.asdict(size) for name, size in plan.splits.items()},
        "parameters": dict(plan.sizes),
        "stages": [
            dataclasses.asdict(stage)
            | {
                "trainable": stage.trainable,
                "peak_bytes": stage.peak_bytes,
                "fits": plan.fits(stage.peak_bytes),
                "gpu_hours": stage.gpu_hours,
            }
            for stage in plan.stages
        ],
        "decodings": [
            dataclasses.asdict(decoding) | {"peak_bytes": decoding.peak_bytes, "fits": plan.fits(decoding.peak_bytes)}
            for decoding in plan.decodings
        ],
        "jobs": dict(plan.jobs),
        "gpu_hours": dict(plan.gpu_hours),
        "longest_chain": [stage.name for stage in plan.longest_chain],
    }
    return json.dumps(values, indent=2, ensure_ascii=False)


def _heading(plan: Plan) -> Iterator[str]:
    gpu, train = plan.gpu, plan.splits["train"]
    yield f"Plan of preset {plan.config.preset}"
    yield f"Encoder: {plan.shapes.sources[0]}"
    yield f"Language model: {plan.shapes.sources[1]}"
    yield (
        f"GPU: {gpu.name}, {gpu.memory_gib:g} GiB, {gpu.reserved_gib:g} of them reserved, "
        f"{gpu.bfloat16_tflops:g} TFLOP/s in bfloat16; utilisation: {gpu.shares.source}"
    )
    yield (
        f"Training split: {train.utterances:,} utterances, {_hours(train.hours)}, {train.mean_s:.2f} s on average, "
        f"{train.max_duration_s:.1f} s at most ({train.source})"
    )
    assumed = [name for name, size in plan.splits.items() if size.source == ASSUMED]
    if assumed:
        yield (
            f"Corpus: found no {', '.join(assumed)} split yet, so MLC-SLM's size is assumed. If yours is smaller, "
            "decoding takes less in proportion; steps of training are fixed and take as long. Plan again once the data "
            "are in place."
        )


def _hours(value: float) -> str:
    return f"{value:,.0f} h" if value >= 10 else f"{value:.1f} h"


def _parameters(plan: Plan) -> Section:
    names = {
        "encoder": "encoder without adapters",
        "language_model": "language model with head, without adapters",
        "projector": "projector",
        "embedding": "embedding (part of the language model)",
        "head": "head (part of the language model)",
        "lm_lora": "language model LoRA",
        "encoder_lora": "encoder LoRA",
    }
    tokens = f"{plan.shapes.added_tokens - 1} added tokens and the audio placeholder; {plan.shapes.rows:,} rows"
    rows = [["part", "parameters"]] + [[label, f"{plan.sizes[name]:,}"] for name, label in names.items()]
    return Section("Parameters", rows, (tokens,))


def _memory(plan: Plan) -> Section:
    kinds = ("weights", "gradients", "optimiser", "reference", "activations", "sampling beyond")
    rows = [["checkpoint", "trains", "trainable", *kinds, "total GiB", "of two", "host GiB", "fits"]]
    for names, stage in _alike(plan.stages):
        cells = [_gib(stage.memory[kind]) if stage.memory.get(kind) else "" for kind in kinds]
        fits = "yes" if plan.fits(stage.shared_bytes) else "one GPU"
        fits = fits if plan.fits(stage.peak_bytes) else "NO"
        trains = ", ".join(stage.trained)
        rows.append([names, trains, f"{stage.trainable:,}", *cells, _gib(stage.peak_bytes)])
        rows[-1] += [_gib(stage.shared_bytes), _gib(stage.host_bytes), fits]
    longest = min(
        plan.splits["train"].max_duration_s, max(stage.max_duration_s for stage in plan.config.stages.values())
    )
    notes = (
        f"Per process, with micro-batches of the longest utterances ({longest:.1f} s). Sampling beyond: what sampling "
        "answers needs beyond learning from them, its gradients included. Of two: the total of each of two GPUs, which "
        "copy the gradients to add them up, but sample half the answers.",
        f"Host: the machine's memory per process, {plan.config.resources.data_workers} data workers included: weights "
        "while they are loaded, and the manifest's rows in each.",
    )
    return Section("Memory of training by part, in GiB", rows, notes, labels=2)


def _work(plan: Plan) -> Section:
    rows = [
        ["checkpoint", "after", "steps", "utterances", "tokens", "FLOP", "seconds", "tokens/s", "GPU hours", "faster"]
    ]
    for names, stage in _alike(plan.stages):
        rows.append(
            [
                names,
                stage.parent,
                f"{stage.steps:,}",
                str(stage.utterances),
                f"{stage.tokens:,}",
                _scaled(stage.flops),
                f"{stage.seconds:.3g}",
                f"{stage.tokens / stage.seconds:,.0f}",
                f"{stage.gpu_hours:,.1f}",
                ", ".join(f"{times:.1f} with {count}" for count, times in stage.speedups.items()),
            ]
        )
    chain = plan.longest_chain
    notes = (
        "Per step of utterances of mean length on one GPU, with reading them beside the model. Faster: how many times "
        "as fast with several GPUs, by simulation of how a step's utterances are dealt to them; without communication.",
        f"Longest chain: {' -> '.join(stage.name for stage in chain)}: {plan.hours_of(chain):,.1f} h on one GPU, "
        f"{plan.hours_of(chain, 4):,.1f} h on four.",
    )
    return Section("Training", rows, notes, labels=2)


def _decoding(plan: Plan) -> Section:
    kinds = ("weights", "keys and values", "activations")
    rows = [["decoding", "batch", "beams", *kinds, "total GiB", "fits", "utterances/s"]]
    alike: dict[tuple[Any, ...], None] = {}
    for one in plan.decodings:
        settings = plan.config.decodings[one.decoding]
        template = plan.config.stages[one.checkpoint].template
        cells = [_gib(one.memory[kind]) for kind in kinds]
        label = f"{one.decoding}, {template}"
        fits = "yes" if plan.fits(one.peak_bytes) else "NO"
        row = (label, str(settings.batch_size), str(settings.rows), *cells, _gib(one.peak_bytes), fits)
        alike[(*row, f"{one.utterances_per_second:.1f}")] = None
    return Section("Decoding", rows + [list(row) for row in alike])


def _jobs(plan: Plan) -> Section:
    rows = [["rule", "jobs", "GPU hours"]]
    for rule, count in plan.jobs.items():
        hours = plan.gpu_hours.get(rule)
        rows.append([rule, f"{count:,}", "" if hours is None else f"{hours:,.1f}"])
    rows.append(["total", f"{sum(plan.jobs.values()):,}", f"{sum(plan.gpu_hours.values()):,.1f}"])
    return Section(f"Jobs for {', '.join(plan.needed.tables)}, from scratch", rows)


def _alike(stages: Iterable[StagePlan]) -> Iterator[tuple[str, StagePlan]]:
    """Distinct stages, each labelled with all that cost the same, such as those with other rewards."""
    groups: list[list[StagePlan]] = []
    for stage in stages:
        same = next((group for group in groups if _differ_by_name(group[0], stage)), None)
        if same is None:
            groups.append([stage])
        else:
            same.append(stage)
    for first, *others in groups:
        series = f"{first.name.partition('/')[0]}/... ({1 + len(others)})"
        yield series if others else first.name, first


def _differ_by_name(one: StagePlan, other: StagePlan) -> bool:
    series = one.name.partition("/")[0] == other.name.partition("/")[0]
    return series and dataclasses.replace(one, name=other.name) == other


def _aligned(row: Sequence[str], widths: Sequence[int], labels: int) -> str:
    cells = [
        cell.ljust(w) if column < labels else cell.rjust(w)
        for column, (cell, w) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _gib(size: float) -> str:
    return f"{size / GIB:.1f}"


def _scaled(flops: float) -> str:
    return next((f"{flops / scale:.3g} {unit}" for unit, scale in _UNITS if flops >= scale), f"{flops:.0f}")
