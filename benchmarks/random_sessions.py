"""Sessions of random words with a published result's utterances, lengths and error rates, as two sides."""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlcslm.config.languages import Group
from mlcslm.errors import UserError
from mlcslm.formats.segments import Utterance

WORDS = 3000
SCRIPTS = {"Japanese": ("あ", 80), "Korean": ("가", 600), "Thai": ("ก", 46)}
"""First character and number of characters to draw tokens from, for groups counted in characters."""


@dataclass(frozen=True)
class Spoken:
    """A reference utterance: speaker, start and end in seconds, tokens."""

    speaker: str
    start: float
    end: float
    tokens: int


@dataclass(frozen=True)
class Rates:
    """Errors of a recording's hypothesis per reference token."""

    insertions: float = 0.15
    deletions: float = 0.12
    substitutions: float = 0.12


def read_utterances(path: Path, groups: dict[str, Group]) -> dict[str, list[Spoken]]:
    """Utterances of each recording from a CSV (or .csv.gz) of official ids: group, utterance_id, length."""
    recordings: dict[str, list[Spoken]] = {}
    for row in _rows(path, ("group", "utterance_id", "length")):
        session, speaker, start, end = row["utterance_id"].removeprefix(f"{row['group']}-").rsplit("-", 3)
        recording = f"{groups[row['group']].recording_prefix}_{session}"
        spoken = Spoken(speaker, int(start) / 100, int(end) / 100, int(row["length"]))
        recordings.setdefault(recording, []).append(spoken)
    return recordings


def read_rates(path: Path) -> dict[str, Rates]:
    """Error rates of each recording from a CSV (or .csv.gz): recording_id, length and the three kinds of errors."""
    kinds = ("insertions", "deletions", "substitutions")
    rows = _rows(path, ("recording_id", "length", *kinds))
    return {row["recording_id"]: Rates(*(int(row[kind]) / int(row["length"]) for kind in kinds)) for row in rows}


def synthetic_utterances(count: int, groups: dict[str, Group], rng: random.Random) -> dict[str, list[Spoken]]:
    """`count` recordings of about 4,000 tokens in 270 utterances, in the groups' order, as in MLC-SLM's dev set."""
    prefixes = sorted(groups[name].recording_prefix for name in groups)
    recordings = {}
    for number in range(count):
        spoken, time, speaker = [], 0.0, 1
        for _ in range(270):
            length = min(8.0, rng.expovariate(1 / 3.9)) + 0.3
            tokens = max(1, round(3.8 * length))
            spoken.append(Spoken(f"O{speaker}", round(time, 2), round(time + length, 2), tokens))
            time, speaker = max(0.0, time + length + rng.uniform(-0.5, 1.5)), rng.choice([1, 2])
        recordings[f"{prefixes[number * len(prefixes) // count]}_{number:04d}"] = spoken
    return recordings


def write_sides(
    recordings: dict[str, list[Spoken]], rates: dict[str, Rates], groups: dict[str, Group], rng: random.Random
) -> tuple[list[Utterance], list[Utterance]]:
    """Reference and hypothesis of every recording, with tokens that normalising and splitting leave unchanged.

    Hypotheses have substituted, deleted and inserted tokens at the recording's rates, boundaries that are off by tenths
    of a second, and the wrong speaker for one utterance in twenty.
    """
    by_prefix = {group.recording_prefix: group for group in groups.values()}
    reference, hypothesis = [], []
    for recording, spoken in recordings.items():
        vocabulary = _vocabulary(by_prefix[recording.split("_")[0]], rng)
        rate = rates.get(recording, Rates())
        for utterance in spoken:
            tokens = rng.choices(vocabulary, k=utterance.tokens)
            said = (recording, utterance.speaker, utterance.start, utterance.end)
            reference.append(Utterance(*said, " ".join(tokens)))
            speaker = utterance.speaker if rng.random() < 0.95 else rng.choice(["O1", "O2"])
            start = max(0.0, round(utterance.start + rng.uniform(-0.3, 0.3), 3))
            end = max(start, round(utterance.end + rng.uniform(-0.3, 0.5), 3))
            heard = " ".join(_mishear(tokens, vocabulary, rate, rng))
            hypothesis.append(Utterance(recording, speaker.replace("O", "spk"), start, end, heard))
    return reference, hypothesis


def _mishear(tokens: list[str], vocabulary: list[str], rate: Rates, rng: random.Random) -> Iterator[str]:
    for token in tokens:
        draw = rng.random()
        if draw >= rate.deletions:
            yield rng.choice(vocabulary) if draw < rate.deletions + rate.substitutions else token
        if rng.random() < rate.insertions:
            yield rng.choice(vocabulary)


def _vocabulary(group: Group, rng: random.Random) -> list[str]:
    if group.unit == "character":
        first, count = SCRIPTS.get(group.group, SCRIPTS["Japanese"])
        return [chr(ord(first) + number) for number in range(count)]
    return ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(1, 9))) for _ in range(WORDS)]


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected a CSV with the columns {', '.join(columns)}.")
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not set(columns) <= rows[0].keys():
        raise UserError(
            f"{path}: found the columns {', '.join(rows[0] if rows else ())}; expected {', '.join(columns)}."
        )
    return rows
