"""What recognisers, diarizers and annotation tools write, recognised by its content.

JSON of Whisper (also faster-whisper, WhisperX, transformers' pipeline and whisper.cpp), pyannote, VibeVoice and MOSS;
lists and tables of texts; SRT, WebVTT, TextGrid, ELAN, Audacity labels and sclite's `.trn`. A file that names no
recording is of the one that it is called after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlcslm.formats.annotations import read_audacity, read_elan, read_textgrid
from mlcslm.formats.nemo import NemoEntry, read_table, read_trn
from mlcslm.formats.parsing import check_interval, name_fault, raise_faults, text_fault
from mlcslm.formats.recogniser_json import read_moss, read_recogniser_json
from mlcslm.formats.segments import Segment, Utterance
from mlcslm.formats.spoken import NOBODY, Spoken
from mlcslm.formats.subtitles import read_subtitles
from mlcslm.io.reading import plain_suffix

TITLES: Mapping[str, str] = {
    "json": "JSON of a recogniser or diarizer",
    "moss": "MOSS's transcript",
    "srt": "SRT",
    "vtt": "WebVTT",
    "textgrid": "a TextGrid",
    "elan": "ELAN",
    "audacity": "Audacity labels",
    "trn": "sclite's .trn",
    "table": "a table of texts",
}
"""Formats of this module, by the names that `detect_format` gives them."""


@dataclass(frozen=True)
class Foreign:
    """Content of a file: utterances of recordings, or texts by name (`entries`), or turns without words.

    notes: what readers of the score should know.
    """

    utterances: list[Utterance] = field(default_factory=list)
    entries: list[NemoEntry] = field(default_factory=list)
    turns: dict[str, list[Segment]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_foreign(path: Path, chosen: str) -> Foreign:
    """Read a file of a format of `TITLES`. Utterances without a speaker are `NOBODY`'s.

    Raises UserError for content of another form, saying what it looks like, and FaultyInput listing faulty entries.
    """
    if chosen in ("trn", "table"):
        return Foreign(entries=read_trn(path) if chosen == "trn" else read_table(path))
    if chosen == "json":
        found = read_recogniser_json(path)
        return Foreign(entries=found) if found and isinstance(found[0], NemoEntry) else _timed(path, found)  # type: ignore[arg-type]
    return _timed(path, _READERS[chosen](path))


def recording_of(path: Path) -> str:
    """The recording that a file is of, by its name.

    >>> recording_of(Path("out/French_1.seglst.json")), recording_of(Path("a.b.srt.gz"))
    ('French_1', 'a.b')
    """
    name = path.name.removesuffix(".gz")
    for suffix in (".seglst.json", plain_suffix(path)):
        if suffix and name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _timed(path: Path, spoken: Iterable[Spoken]) -> Foreign:
    """Utterances of a file, or turns if none has words; checked."""
    faults, utterances, nobody = [], [], 0
    own, wordless = recording_of(path), True
    for one in spoken:
        interval = check_interval(one.start, one.end, (one.start, one.end))
        recording, speaker = one.recording or own, one.speaker or NOBODY
        fault = (
            name_fault("recording", recording) or name_fault("speaker", speaker) or text_fault("text", one.text or "")
        )
        if isinstance(interval, str) or fault:
            faults.append(f"{path}: {one.place}: {fault or interval}")
            continue
        nobody += not one.speaker
        wordless &= one.text is None
        utterances.append(Utterance(recording, speaker, *interval, " ".join((one.text or "").split())))
    raise_faults(path, faults)
    notes = [f"names no speaker in {nobody:,} of {len(utterances):,} utterances: all of them count as one"]
    if not wordless or not utterances:
        return Foreign(utterances, notes=notes if nobody else [])
    turns: dict[str, list[Segment]] = {}
    for one_turn in utterances:
        turns.setdefault(one_turn.recording, []).append(Segment(one_turn.start, one_turn.end, one_turn.speaker))
    return Foreign(turns=turns)


_READERS: Mapping[str, Callable[[Path], Iterable[Spoken]]] = {
    "moss": read_moss,
    "srt": lambda path: read_subtitles(path, "srt"),
    "vtt": lambda path: read_subtitles(path, "vtt"),
    "textgrid": read_textgrid,
    "elan": read_elan,
    "audacity": read_audacity,
}
