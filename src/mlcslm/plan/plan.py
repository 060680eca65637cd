"""A configuration's plan: everything that `mlcslm plan` prints, from its files alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlcslm.config.schema import Config, Split
from mlcslm.errors import UserError
from mlcslm.plan.jobs import Needed, job_counts, needed_for_tables
from mlcslm.plan.micro_batch import Meter
from mlcslm.plan.shapes import Shapes, read_shapes
from mlcslm.plan.stages import Planner, StagePlan
from mlcslm.plan.throughput import Gpu, Throughput, read_throughput
from mlcslm.plan.work import DecodingPlan, Works
from mlcslm.plan.workload import SplitSize, split_sizes, utterance_lengths
from mlcslm.workflow.layout import Layout


@dataclass(frozen=True)
class Plan:
    """What a configuration takes.

    sizes: parameters by part (`part_sizes`); stages, decodings: in the configuration's order; jobs, gpu_hours: by rule.
    """

    config: Config
    shapes: Shapes
    gpu: Gpu
    throughput: Throughput
    splits: Mapping[Split, SplitSize]
    sizes: Mapping[str, int]
    stages: tuple[StagePlan, ...]
    decodings: tuple[DecodingPlan, ...]
    needed: Needed
    jobs: Mapping[str, int]
    gpu_hours: Mapping[str, float]

    @property
    def longest_chain(self) -> tuple[StagePlan, ...]:
        """The slowest chain of stages, first to last, that must run one after the other however many GPUs there are."""
        by_name = {stage.name: stage for stage in self.stages}
        chains = [[by_name[name] for name in self.config.lineage(stage)] for stage in by_name]
        longest = max(chains, key=lambda chain: sum(stage.gpu_hours for stage in chain))
        return tuple(reversed(longest))

    def hours_of(self, chain: Sequence[StagePlan], processes: int = 1) -> float:
        """Hours of stages one after the other, each on as many of `processes` GPUs as it can use."""
        return sum(
            stage.gpu_hours / max([times for count, times in stage.speedups.items() if count <= processes], default=1.0)
            for stage in chain
        )

    @property
    def all_fit(self) -> bool:
        """Whether every stage and decoding fits the GPU."""
        peaks = [stage.peak_bytes for stage in self.stages] + [decoding.peak_bytes for decoding in self.decodings]
        return all(map(self.fits, peaks))

    def fits(self, peak_bytes: float) -> bool:
        """Whether the GPU has this much memory."""
        return peak_bytes <= self.gpu.usable_bytes


def make_plan(
    config: Config,
    *,
    throughput: str | Path = "config/throughput.yaml",
    gpu: str | None = None,
    encoder: str | None = None,
    language_model: str | None = None,
) -> Plan:
    """The plan of `config`. encoder, language_model: override its models, for example with a folder.

    Only shapes are loaded and run. Ready recognisers are left out: nothing is known about their cost. Raises UserError
    for anything that cannot be found or read, and if nothing is trained.
    """
    if not config.stages:
        raise UserError(f"preset {config.preset!r} has no stages: nothing is trained, so there is nothing to plan.")
    table = read_throughput(throughput, gpu)
    chosen = table.gpus[table.gpu]
    shapes = read_shapes(
        encoder or config.models.encoder, language_model or config.models.language_model, config.languages
    )
    layout = Layout(config, whole=True)
    needed = needed_for_tables(layout)
    splits = split_sizes(layout, table.corpus)
    meter = Meter(shapes, config.models)
    lengths = utterance_lengths(layout, splits["train"])
    planner = Planner(config, meter, table.text, splits["train"], chosen, table.host, lengths)
    stages = {name: planner(name) for name in config.stages}
    works = Works(layout, meter, table, splits)
    systems = dict.fromkeys(system[:2] for system in needed.systems if system[0] in config.stages)
    return Plan(
        config=config,
        shapes=shapes,
        gpu=chosen,
        throughput=table,
        splits=splits,
        sizes=meter.sizes,
        stages=tuple(stages.values()),
        decodings=tuple(works.decoding(*system) for system in systems),
        needed=needed,
        jobs=job_counts(layout, needed),
        gpu_hours=works.gpu_hours(stages, needed),
    )
