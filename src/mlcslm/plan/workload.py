"""How much there is to train on, decode and diarize: counted from the manifests, or estimated if there are none yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlcslm.config.languages import read_languages
from mlcslm.config.schema import Split
from mlcslm.corpus.audio import read_header
from mlcslm.corpus.kaldi import is_kaldi_folder, read_kaldi_folder
from mlcslm.corpus.layout import AUDIO_SUFFIXES, find_sessions
from mlcslm.corpus.lhotse import is_lhotse_folder, read_lhotse_folder
from mlcslm.corpus.transcripts import parse_transcript
from mlcslm.errors import UserError
from mlcslm.plan.scaling import typical_lengths
from mlcslm.plan.throughput import CorpusSize
from mlcslm.workflow.layout import Layout

_LENGTHS = 30_000
_TRANSCRIPTS = 200
COUNTED, READ, GENERATED, ASSUMED = "from its manifest", "from its transcripts", "to be generated", "assumed"
RECORDED = "from its recordings"
"""Sources of a split's size."""


@dataclass(frozen=True)
class SplitSize:
    """A split's utterances, their mean and maximum seconds, hours of recordings, and where these numbers are from."""

    utterances: int
    mean_s: float
    max_duration_s: float
    recordings_h: float
    source: str

    @property
    def hours(self) -> float:
        """Hours of utterances."""
        return self.utterances * self.mean_s / 3600


def split_sizes(layout: Layout, corpus: CorpusSize) -> dict[Split, SplitSize]:
    """Each split's size: from its manifest, else from its transcripts, else from its recordings, else for the demo
    corpus to be generated, else from `corpus`."""
    return {
        split: _counted(layout, split)
        or _read(layout, split)
        or _listed(layout, split)
        or _recorded(layout, corpus, split)
        or _estimated(layout, corpus, split)
        for split in layout.splits
    }


def utterance_lengths(layout: Layout, train: SplitSize) -> list[float]:
    """Seconds of some training utterances: of the manifest's, evenly spread over it, or typical ones of their mean."""
    if train.source != COUNTED:
        return typical_lengths(train.mean_s, _LENGTHS)
    path = layout.training_manifest()
    table = pq.read_table(path if path.is_file() else layout.manifest("train"), columns=["start", "end"])
    seconds: list[float] = pc.subtract(table["end"], table["start"]).to_pylist()
    return seconds[:: max(1, len(seconds) // _LENGTHS)]


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
        source=COUNTED,
    )


def _read(layout: Layout, split: Split) -> SplitSize | None:
    """The size of a split in the challenge's layout, reckoned from some of its transcripts; None for any other."""
    folder = layout.config.corpus.folders.get(split)
    if folder is None or not Path(folder).is_dir():
        return None
    sessions, _ = find_sessions(folder, read_languages(layout.config.languages))
    known = [one.transcript for one in sessions if one.transcript is not None]
    some = known[:: max(1, len(known) // _TRANSCRIPTS)]  # 1,500 h have too many lines to be read at each start of a run
    transcripts = [parse_transcript(one)[0] for one in some]
    utterances = [[line.utterance for line in lines] for lines in transcripts if lines]
    seconds = [one.end - one.start for session in utterances for one in session]
    if not seconds:
        return None
    scale = len(known) / len(some)
    return SplitSize(
        utterances=round(scale * len(seconds)),
        mean_s=sum(seconds) / len(seconds),
        max_duration_s=max(seconds),
        recordings_h=scale * sum(max(one.end for one in session) for session in utterances) / 3600,
        source=READ,
    )


def _listed(layout: Layout, split: Split) -> SplitSize | None:
    """The size of a Kaldi or Lhotse corpus, from its segments; None for any other, and for whole recordings."""
    folder = layout.config.corpus.folders.get(split)
    if folder is None or not (root := Path(folder)).is_dir():
        return None
    readers = ((is_kaldi_folder, read_kaldi_folder), (is_lhotse_folder, read_lhotse_folder))
    for belongs, read in readers:
        if not belongs(root):
            continue
        timed = [(one.recording, one.start, one.end) for one in read(root).segments if one.end is not None]
        seconds = [end - start for _, start, end in timed if end > start]
        if not seconds:
            return None
        ends: dict[str, float] = {}
        for recording, _, end in timed:
            ends[recording] = max(end, ends.get(recording, 0.0))
        mean = sum(seconds) / len(seconds)
        return SplitSize(len(seconds), mean, max(seconds), sum(ends.values()) / 3600, source=READ)
    return None


def _recorded(layout: Layout, corpus: CorpusSize, split: Split) -> SplitSize | None:
    """The size of a folder of recordings, as if somebody always spoke, from the lengths of some of them; None if there
    are none. Recordings shorter than a mean utterance hold one each."""
    folder = layout.config.corpus.folders.get(split)
    if folder is None:
        return None
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    seconds = []
    for path in found[:: max(1, len(found) // _TRANSCRIPTS)]:
        try:
            seconds.append(read_header(path).duration)
        except UserError:
            continue  # the manifest will name it
    if not seconds:
        return None
    scale = len(found) / len(seconds)
    utterances = [max(1.0, one / corpus.mean_s) for one in seconds]
    return SplitSize(
        utterances=round(scale * sum(utterances)),
        mean_s=sum(seconds) / sum(utterances),
        max_duration_s=min(corpus.max_duration_s, max(seconds)),
        recordings_h=scale * sum(seconds) / 3600,
        source=RECORDED,
    )


def _estimated(layout: Layout, corpus: CorpusSize, split: Split) -> SplitSize:
    if layout.config.corpus.kind == "demo":
        demo = layout.config.corpus.demo
        utterances = getattr(demo, f"{split}_sessions") * len(layout.groups) * demo.turns_per_session
        hours = utterances * corpus.mean_s / 3600
        return SplitSize(utterances, corpus.mean_s, 2 * corpus.mean_s, hours, GENERATED)
    utterances = round(corpus.hours[split] * 3600 / corpus.mean_s)
    return SplitSize(utterances, corpus.mean_s, corpus.max_duration_s, corpus.recordings_h[split], ASSUMED)
