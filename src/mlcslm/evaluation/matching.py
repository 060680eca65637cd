"""Match external hypotheses with references: by id, or by recording, speaker and times."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath

from mlcslm.corpus.identifiers import centiseconds, one_word
from mlcslm.errors import FaultyInput, UserError, shortened
from mlcslm.formats.nemo import NemoEntry
from mlcslm.formats.parsing import rendered
from mlcslm.formats.segments import Utterance
from mlcslm.formats.spoken import NOBODY
from mlcslm.formats.system_output import SystemOutput
from mlcslm.scoring.diarization_counts import reference_utterances
from mlcslm.scoring.recordings import difference_in_normalisation
from mlcslm.scoring.wer import MAX_LISTED_IDS, nearest_ids
from mlcslm.scoring.wer_counts import read_rows

COLUMNS = ("utterance_id", "session_id", "grp", "speaker", "start", "end", "audio", "text")
SLACK = 1
"""Tolerance of times in centiseconds: other tools round them, the official ids truncate them."""


class References:
    """Utterances and recordings of a manifest, indexed by everything hypotheses may refer to."""

    def __init__(self, manifest: Path) -> None:
        """Raises UserError or FaultyInput for a manifest that cannot be read or is empty."""
        self.source = str(manifest)
        self.rows = read_rows(manifest, COLUMNS)
        if not self.rows["utterance_id"]:
            raise UserError(f"{manifest}: contains no utterances. Recreate it with `mlcslm manifest`.")

    @cached_property
    def ids(self) -> dict[str, int]:
        """Row of each utterance."""
        return {name: row for row, name in enumerate(self.rows["utterance_id"])}

    @cached_property
    def prefixes(self) -> dict[str, str]:
        """Prefix of the ids of each recording's utterances, `<group>-<session>`, in the order of the manifest."""
        pairs = zip(self.rows["session_id"], self.rows["utterance_id"], strict=True)
        return {session: name.rsplit("-", 3)[0] for session, name in pairs}

    @cached_property
    def groups(self) -> dict[str, str]:
        """Group of each recording."""
        return dict(zip(self.rows["session_id"], self.rows["grp"], strict=True))

    @cached_property
    def _by_start(self) -> dict[tuple[str, int], list[int]]:
        """Rows by recording and start."""
        found: dict[tuple[str, int], list[int]] = {}
        for row, start in enumerate(self.rows["start"]):
            found.setdefault((self.rows["session_id"][row], centiseconds(start)), []).append(row)
        return found

    @cached_property
    def _by_audio(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Recordings by the name of their audio file without suffix, with the folders it is in."""
        found: dict[str, dict[str, tuple[str, ...]]] = {}
        for recording, audio in zip(self.rows["session_id"], self.rows["audio"], strict=True):
            path = PurePosixPath(audio)
            found.setdefault(one_word(path.stem), {})[recording] = path.parent.parts
        return found

    def recordings_of(self, name: str, audio: str | None, prefixes: Collection[str]) -> list[str]:
        """Recordings that a name may refer to: one, none, or several if it is ambiguous.

        name: of a recording, or of its audio file; audio: that file's path, if known. A group's folder in it decides
        (`prefixes`: the last folder of each group), then the number of folders that agree. A file name alone does not
        identify a recording: French's 0001.wav and American's are two. White space in it is percent-encoded, as in ids.
        """
        name = one_word(name)
        if name in self.prefixes:
            return [name]
        folders = self._by_audio.get(name, {})
        if audio is None or not folders:
            return list(folders)
        parents = [part.casefold() for part in PurePosixPath(audio).parent.parts]
        agreeing = {recording: _shared(parents, its_parents) for recording, its_parents in folders.items()}
        known = {prefix.casefold() for prefix in prefixes}
        if group := next((part for part in reversed(parents) if part in known), None):
            agreeing = {
                recording: count
                for recording, count in agreeing.items()
                if recording.casefold().startswith(f"{group}_")
            }
        return [recording for recording, count in agreeing.items() if count == max(agreeing.values())]

    def utterances(self) -> list[Utterance]:
        """All utterances, with their raw texts. Raises FaultyInput if any has none."""
        return reference_utterances(self.rows, Path(self.source))

    def at(self, name: str, start: float, end: float, speaker: str | None) -> list[str]:
        """Utterances of a recording from `start` to `end` (seconds), of any speaker if None."""
        first = centiseconds(start)
        rows = [row for shift in range(-SLACK, SLACK + 1) for row in self._by_start.get((name, first + shift), ())]
        return [
            self.rows["utterance_id"][row]
            for row in rows
            if abs(centiseconds(self.rows["end"][row]) - centiseconds(end)) <= SLACK
            and speaker in (None, self.rows["speaker"][row])
        ]


def _shared(parents: Sequence[str], others: Sequence[str]) -> int:
    """How many folders agree, counted upwards from the file.

    >>> _shared(["data", "french"], ["corpus", "French"])
    1
    """
    pairs = zip(reversed(parents), reversed(others), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0].casefold() == pair[1].casefold(), pairs))


def detect_track(output: SystemOutput, references: References) -> int:
    """1 if the ids are those of utterances, 2 if they are of recordings; turns alone belong to Track 2."""
    if output.texts or output.entries:
        return 1
    return 1 if any(one_word(utterance.recording) in references.ids for utterance in output.utterances) else 2


def texts_of_utterances(
    output: SystemOutput, references: References, source: str, prefixes: Collection[str] = ()
) -> dict[str, str]:
    """Text of each utterance, including ids without a reference.

    A segment of a recording belongs to the utterance with the same speaker and times (to a centisecond); segments of
    the same utterance, such as the words of a CTM, are joined in order of start. prefixes: the last folder of each
    group, which tells whose file a path is. Raises FaultyInput for repeated ids, and for entries that fit two
    recordings or two utterances.
    """
    texts = {one_word(name) if one_word(name) in references.ids else name: text for name, text in output.texts.items()}
    faults: list[str] = []
    for entry in output.entries:
        name = _id_of_entry(entry, references, prefixes, faults)
        if name in texts:
            faults.append(f"{name}: found more than once")
        texts[name] = entry.text
    pieces: dict[str, list[Utterance]] = {}
    for utterance in output.utterances:
        pieces.setdefault(_id_of_segment(utterance, references, faults), []).append(utterance)
    faults += [f"{name}: found in two files" for name in pieces if name in texts]
    if faults:
        raise FaultyInput(
            f"{source}: {len(faults)} entries are ambiguous or repeated:", shortened(faults, MAX_LISTED_IDS)
        )
    for name, spoken in pieces.items():
        texts[name] = " ".join(piece.text for piece in sorted(spoken, key=lambda piece: piece.start))
    return texts


def check_known(
    given: Collection[str], known: Collection[str], source: str, *, kind: str, skip_unknown: bool
) -> tuple[list[str], list[str]]:
    """Names of `given` that are not among `known`, and names of `known` that are not among `given`, in order.

    Raises FaultyInput listing both, each with the nearest name of the other side, if any name is unknown and not to be
    skipped, or if all are unknown. kind: what the names are of, in the plural.
    """
    unknown = [name for name in given if name not in known]
    present = set(given)
    missing = [name for name in known if name not in present]
    if not unknown or (skip_unknown and len(unknown) < len(present)):
        return unknown, missing
    faults = _with_nearest(unknown, known, "not among the references; nearest: ")
    if missing:
        faults.append(f"{len(missing)} of the {len(known)} references have no hypothesis:")
        faults += _with_nearest(missing, unknown, "no hypothesis; nearest of yours: ")
    remedy = "correct them, or skip them with --skip-unknown" if len(unknown) < len(present) else "correct them"
    raise FaultyInput(
        f"{source}: {len(unknown)} of {len(present)} {kind} have no reference; {remedy}. Expected "
        f"{kind} such as {next(iter(known))}:",
        faults,
    )


def describe_missing(missing: Sequence[str], references: int, kind: str) -> list[str]:
    """Lines on references without a hypothesis: how many, and the first ten."""
    if not missing:
        return []
    title = f"no hypothesis for {len(missing)} of {references} {kind}: all their words count as deleted:"
    return [title, *(f"  {name}" for name in shortened(missing, MAX_LISTED_IDS))]


def _id_of_entry(entry: NemoEntry, references: References, prefixes: Collection[str], faults: list[str]) -> str:
    if one_word(entry.name) in references.ids:
        return one_word(entry.name)
    if entry.offset is None or entry.duration is None:
        return entry.name
    recordings = references.recordings_of(entry.name, entry.audio, prefixes)
    if len(recordings) > 1:
        faults.append(f"{rendered(entry.audio or entry.name)}: {_ambiguous(recordings)}, or an utterance_id")
    end = entry.offset + entry.duration
    found = [name for recording in recordings for name in references.at(recording, entry.offset, end, entry.speaker)]
    if len(found) == 1 and len(recordings) == 1:
        return found[0]
    prefix = references.prefixes[recordings[0]] if len(recordings) == 1 else entry.audio or entry.name
    name = f"{prefix}-{entry.speaker or '?'}-{_times(entry.offset, end)}"
    if len(found) > 1 and len(recordings) == 1:
        faults.append(f"{name}: fits {' and '.join(found)}; give each line a speaker or an utterance_id")
    return name


def _id_of_segment(utterance: Utterance, references: References, faults: list[str]) -> str:
    if one_word(utterance.recording) in references.ids:
        return one_word(utterance.recording)
    recordings = references.recordings_of(utterance.recording, None, ())
    if len(recordings) > 1:
        faults.append(f"{rendered(utterance.recording)}: {_ambiguous(recordings)}")
    elif recordings:
        speaker = None if utterance.speaker == NOBODY else utterance.speaker
        found = references.at(recordings[0], utterance.start, utterance.end, speaker)
        if len(found) == 1:
            return found[0]
        utterance = replace(utterance, recording=recordings[0])
    return official_segment_id(utterance, references)


def _ambiguous(recordings: Sequence[str]) -> str:
    return f"may be {' or '.join(shortened(recordings, 3))}, whose files share a name; give the recording, its folder"


def official_segment_id(utterance: Utterance, references: References) -> str:
    """Id of a segment in the challenge's format, with its own speaker and times."""
    prefix = references.prefixes.get(utterance.recording, utterance.recording)
    return f"{prefix}-{utterance.speaker}-{_times(utterance.start, utterance.end)}"


def _times(start: float, end: float) -> str:
    return f"{centiseconds(start):06d}-{centiseconds(end):06d}"


def _with_nearest(names: Sequence[str], others: Collection[str], words: str) -> list[str]:
    nearest = nearest_ids(names[:MAX_LISTED_IDS], others)
    alone = words.rpartition("; ")[0]
    faults = [
        f"{_rendered(name)}: {words}{_rendered(near)}{difference_in_normalisation(name, [near])}"
        if near
        else f"{_rendered(name)}: {alone}"
        for name, near in zip(names, nearest, strict=False)
    ]
    return [*faults, *([f"… and {len(names) - MAX_LISTED_IDS} more"] if len(names) > MAX_LISTED_IDS else [])]


def _rendered(name: str) -> str:
    """A name from an external file, escaped so that it cannot control the terminal."""
    return name if name.isprintable() else repr(name)
