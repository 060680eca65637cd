"""How much there is to train on, decode and diarize: counted from the manifests, or estimated if there are none yet."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlcslm.config.schema import Split
from mlcslm.plan.throughput import CorpusSize
from mlcslm.workflow.layout import Layout


@dataclass(frozen=True)
class SplitSize:
    """A split's utterances, their mean and maximum seconds, hours of recordings; counted: from a manifest."""

    utterances: int
    mean_s: float
    max_duration_s: float
    recordings_h: float
    counted: bool

    @property
    def hours(self) -> float:
        """Hours of utterances."""
        return self.utterances * self.mean_s / 3600


def split_sizes(layout: Layout, corpus: CorpusSize) -> dict[Split, SplitSize]:
    """Each split's size: from its manifest, else for the demo corpus to be generated, else from `corpus`."""
    return {split: _counted(layout, split) or _estimated(layout, corpus, split) for split in layout.splits}


def _counted(layout: Layout, split: Split) -> SplitSize | None:
    path = layout.manifest(split)
    if not path.is_file():
        return None
    table = pq.read_table(path, columns=["session_id", "start", "end"])
    seconds = pc.subtract(table["end"], table["start"])
    ends = table.group_by("session_id").aggregate([("end", "max")])["end_max"]
    return SplitSize(
        utterances=table.num_rows,
        mean_s=pc.mean(seconds).as_py(),
        max_duration_s=pc.max(seconds).as_py(),
        recordings_h=pc.sum(ends).as_py() / 3600,
        counted=True,
    )


def _estimated(layout: Layout, corpus: CorpusSize, split: Split) -> SplitSize:
    if layout.config.corpus.kind == "demo":
        demo = layout.config.corpus.demo
        utterances = getattr(demo, f"{split}_sessions") * len(layout.groups) * demo.turns_per_session
        hours = utterances * corpus.mean_s / 3600
        return SplitSize(utterances, corpus.mean_s, 2 * corpus.mean_s, hours, counted=False)
    utterances = round(corpus.hours[split] * 3600 / corpus.mean_s)
    return SplitSize(utterances, corpus.mean_s, corpus.max_duration_s, corpus.recordings_h[split], counted=False)
