"""Statistics of a corpus by group, and its outliers by name, from a manifest and the levels of its recordings."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mlcslm.corpus.layout import same_name
from mlcslm.corpus.notices import ENCODER_WINDOW_S
from mlcslm.corpus.samples import FRAME_SECONDS, SILENCE_DB, Samples

QUIET_DB = -60
"""Frames up to this level are silence; an utterance without any louder frame is silent."""
CLIPPED_SHARE = 0.001
"""An utterance with a larger share of its samples at full scale is an outlier."""
RATE_DISTANCE = 4.0
"""An utterance more than this many robust standard deviations (of log characters/s) from its group is an outlier."""
FASTEST = 40.0
"""Characters per second that nobody speaks, in any script: more is an outlier, however few utterances there are."""
_LEAST_SECONDS = 1.0  # shorter utterances ("mm") have no meaningful rate
_LEAST_RATES = 20  # fewer utterances do not make a distribution
_LEAST_CHARACTERS = 12  # both speakers say shorter sentences ("yes, I know")
_SCRIPT_NAME = re.compile(r"^(CJK|[A-Z]+)")
_SCRIPTS = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana", "IDEOGRAPHIC": "Han", "HALFWIDTH": "Kana"}

Row = Mapping[str, Any]


@dataclass(frozen=True)
class GroupStatistics:
    """Statistics of a group.

    recorded_h, speech_h: hours of recordings and of utterances; silence, clipping: share of recorded time at or below
    QUIET_DB, and of samples at full scale; seconds: minimum, median and maximum of utterances; characters_a_second: 5th
    percentile, median and 95th percentile; scripts: share of letters by script, most frequent first.
    """

    group: str
    sessions: int
    speakers: int
    utterances: int
    recorded_h: float
    speech_h: float
    silence: float
    clipping: float
    seconds: tuple[float, float, float]
    characters_a_second: tuple[float, float, float]
    scripts: dict[str, float]


@dataclass(frozen=True)
class Outlier:
    """An outlier: why, its names (utterances, or a session), and what was found."""

    why: str
    names: tuple[str, ...]
    found: str


@dataclass(frozen=True)
class CorpusStatistics:
    """Statistics by group, in the manifest's order, and outliers."""

    groups: list[GroupStatistics]
    outliers: list[Outlier]

    def as_json(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return dataclasses.asdict(self)


def corpus_statistics(
    table: pa.Table, samples: Mapping[str, Samples], others: Mapping[str, pa.Table] | None = None
) -> CorpusStatistics:
    """Statistics of a manifest.

    samples: of its recordings, with levels, by `audio`; others: manifests of other splits, by name.
    """
    rows = table.to_pylist()
    by_group: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_group[row["grp"]].append(row)
    outliers: list[Outlier] = []
    groups = []
    for group, members in by_group.items():
        groups.append(_group(group, members, samples))
        outliers += _odd_rates(members)
        outliers += _odd_scripts(members, groups[-1])
    outliers += _long(rows) + _silent_and_clipped(rows, samples) + _said_by_both(rows)
    for name, other in (others or {}).items():
        outliers += sessions_in_both(rows, name, other)
    return CorpusStatistics(groups, outliers)


def _group(group: str, rows: Sequence[Row], samples: Mapping[str, Samples]) -> GroupStatistics:
    recordings = [samples[path] for path in dict.fromkeys(row["audio"] for row in rows) if path in samples]
    levels = np.concatenate([one.levels for one in recordings]) if recordings else np.empty(0, np.int8)
    rates = {row["sample_rate"] for row in rows}
    clipped = sum(int(one.clipped.sum()) for one in recordings)
    lengths = np.array([row["end"] - row["start"] for row in rows])
    speeds = np.array([_rate(row) for row in rows if _has_rate(row)])
    letters = Counter(script for row in rows for script in map(script_of, row["text"] or "") if script)
    return GroupStatistics(
        group=group,
        sessions=len({row["session_id"] for row in rows}),
        speakers=len({(row["session_id"], row["speaker"]) for row in rows}),
        utterances=len(rows),
        recorded_h=len(levels) * FRAME_SECONDS / 3600,
        speech_h=float(lengths.sum()) / 3600,
        silence=float((levels <= QUIET_DB).mean()) if len(levels) else 0.0,
        clipping=clipped / max(1.0, len(levels) * FRAME_SECONDS * float(np.mean(list(rates)))),
        seconds=_percentiles(lengths, (0, 50, 100)),
        characters_a_second=_percentiles(speeds, (5, 50, 95)),
        scripts={name: count / letters.total() for name, count in letters.most_common()},
    )


def _percentiles(
    values: npt.NDArray[np.floating], percentiles: tuple[float, float, float]
) -> tuple[float, float, float]:
    if not len(values):
        return 0.0, 0.0, 0.0
    low, middle, high = np.percentile(values, percentiles).tolist()
    return low, middle, high


@cache
def script_of(character: str) -> str | None:
    """Script of a letter by its Unicode name, None for other characters.

    >>> [script_of(character) for character in "aжฉ中ひ한!"]
    ['Latin', 'Cyrillic', 'Thai', 'Han', 'Kana', 'Hangul', None]
    """
    if not character.isalpha():
        return None
    found = _SCRIPT_NAME.match(unicodedata.name(character, ""))
    return _SCRIPTS.get(found[0], found[0].capitalize()) if found else None


def _rate(row: Row, at_least: float = 0.0) -> float:
    """Characters per second, not counting white space; `at_least`: seconds that a shorter utterance counts as."""
    return len("".join(row["text"].split())) / max(row["end"] - row["start"], at_least)


def _has_rate(row: Row) -> bool:
    return bool(row["text"]) and row["end"] - row["start"] >= _LEAST_SECONDS and bool(row["text"].strip())


def _odd_rates(rows: Sequence[Row]) -> list[Outlier]:
    """Utterances with far more or fewer characters per second than their group: a wrong transcript or wrong times.

    Utterances shorter than a second count as lasting one, and cannot have too few.
    """
    logs = np.log([_rate(row) for row in rows if _has_rate(row)])
    low, high, usual = 0.0, FASTEST, ""
    if len(logs) >= _LEAST_RATES:
        median = float(np.median(logs))
        # 1.4826 median absolute deviations are one standard deviation of a normal distribution; at least a tenth.
        distance = RATE_DISTANCE * max(0.1, 1.4826 * float(np.median(np.abs(logs - median))))
        low, high = np.exp(median - distance), min(high, np.exp(median + distance))
        usual = f", median {np.exp(median):.1f}"
    found = []
    for row in rows:
        if not (row["text"] and row["text"].strip()):
            continue
        is_slow = _has_rate(row) and _rate(row) < low
        if is_slow or _rate(row, at_least=_LEAST_SECONDS) > high:
            found.append(Outlier("characters per second", (row["utterance_id"],), f"{_rate(row):.1f}{usual}"))
    return found


def _odd_scripts(rows: Sequence[Row], group: GroupStatistics) -> list[Outlier]:
    """Utterances mostly in a script that is rare in their group."""
    rare = {name for name, share in group.scripts.items() if share < 0.05}
    found = []
    for row in rows:
        counts = Counter(script for script in map(script_of, row["text"] or "") if script)
        if counts and (main := counts.most_common(1)[0][0]) in rare and counts[main] > counts.total() / 2:
            usual = next(iter(group.scripts))
            found.append(Outlier("script", (row["utterance_id"],), f"{main}, elsewhere {usual}"))
    return found


def _long(rows: Sequence[Row]) -> list[Outlier]:
    lengths = [(row["utterance_id"], row["end"] - row["start"]) for row in rows]
    return [
        Outlier("longer than the encoder window", (name,), f"{length:.1f} s")
        for name, length in lengths
        if length > ENCODER_WINDOW_S
    ]


def _silent_and_clipped(rows: Sequence[Row], samples: Mapping[str, Samples]) -> list[Outlier]:
    found = []
    for row in rows:
        if (one := samples.get(row["audio"])) is None or not len(one.levels):
            continue
        part = slice(int(row["start"] / FRAME_SECONDS), max(1, round(row["end"] / FRAME_SECONDS)))
        levels, clipped = one.levels[part], one.clipped[part]
        if len(levels) and (loudest := int(levels.max())) <= QUIET_DB:
            said = "digital silence" if loudest == SILENCE_DB else f"at most {loudest} dB"
            found.append(Outlier("silent utterance", (row["utterance_id"],), said))
        share = clipped.sum() / max(1.0, len(clipped) * FRAME_SECONDS * row["sample_rate"])
        if share > CLIPPED_SHARE:
            found.append(Outlier("clipped utterance", (row["utterance_id"],), f"{100 * share:.1f} % at full scale"))
    return found


def _said_by_both(rows: Sequence[Row]) -> list[Outlier]:
    """Sentences of both speakers of a session: a transcript pasted to the other speaker's line, or crosstalk."""
    first: dict[tuple[str, str], Row] = {}
    found = []
    for row in rows:
        text = "".join(character for character in (row["text"] or "").casefold() if character.isalnum())
        if len(text) < _LEAST_CHARACTERS:
            continue
        other = first.setdefault((row["session_id"], text), row)
        if other["speaker"] != row["speaker"]:
            found.append(
                Outlier("same sentence by both speakers", (other["utterance_id"], row["utterance_id"]), row["text"])
            )
    return found


def sessions_in_both(rows: Sequence[Row], name: str, other: pa.Table) -> list[Outlier]:
    """Sessions that are also in another manifest, by name, or by the same sentences at the same times.

    rows, other: both need `session_id`, `start`, `end` and `text`; name: of the other manifest's split.
    """
    theirs = {same_name(one): one for one in other["session_id"].unique().to_pylist()}
    columns = zip(*(other[key].to_pylist() for key in ("session_id", "start", "end", "text")), strict=True)
    placed = {(start, end, text): session for session, start, end, text in columns if text}
    found: dict[str, str] = {}
    same: Counter[tuple[str, str]] = Counter()
    sizes: Counter[str] = Counter()
    for row in rows:
        session = row["session_id"]
        if (named := theirs.get(same_name(session))) is not None:
            found.setdefault(session, f"{name}, there {named}" if named != session else name)
        sizes[session] += bool(row["text"])
        if (twin := placed.get((row["start"], row["end"], row["text"]))) is not None:
            same[session, twin] += 1
    for (session, twin), count in same.items():
        if count >= 3 and count > sizes[session] / 2:
            found.setdefault(session, f"{name}, there {twin}: {count} utterances are the same")
    return [Outlier("session in two splits", (session,), where) for session, where in found.items()]
