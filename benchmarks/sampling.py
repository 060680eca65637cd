"""Lengths of utterances, and the sample to measure: whole batches as a run over all of them would form.

Lengths come from the ids of a results CSV, which end in `<start>-<end>` in centiseconds, or from a distribution with
the quantiles of MLC-SLM's dev set.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlcslm.config.languages import Group
from mlcslm.decoding.batching import length_buckets
from mlcslm.errors import FaultyInput, UserError
from mlcslm.plan.scaling import DEV_QUANTILES
from mlcslm.training.batches import batches_of_pass

SYNTHETIC_UTTERANCES = 29_952
WORDS_PER_SECOND, CHARACTERS_PER_SECOND = 2.9, 6.0
"""The dev set's speaking rates in reference tokens, for synthetic lengths only."""
TOKENS_PER_UNIT = {"word": 1.5, "character": 1.0}
"""Language model tokens per reference token: an assumption, typical of vocabularies of 150,000 entries."""
_HEADER = ("group", "utterance_id", "length")


@dataclass(frozen=True)
class Utterance:
    """seconds of speech; answer_tokens: language model tokens of its reference, without tags and end token."""

    group: str
    seconds: float
    answer_tokens: int


def read_lengths(path: Path, groups: Mapping[str, Group]) -> list[Utterance]:
    """Utterances of a CSV (.gz or plain) whose first columns are group, utterance_id, length (reference tokens).

    Raises UserError, or FaultyInput naming each faulty line.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected a CSV with columns {', '.join(_HEADER)}, …, plain or .gz.")
    utterances, faults = [], []
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            if (header := tuple(next(rows, ()))[:3]) != _HEADER:
                raise UserError(f"{path}:1: found columns {list(header)}, expected {list(_HEADER)} first.")
            for number, row in enumerate(rows, start=2):
                try:
                    start, end = row[1].split("-")[-2:]
                    utterances.append(_utterance(groups[row[0]], (int(end) - int(start)) / 100, int(row[2])))
                except (IndexError, KeyError, ValueError):
                    faults.append(f"{path}:{number}: found {row}, expected a known group, an id and a length")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not readable as CSV in UTF-8 ({error}).") from error
    if faults:
        raise FaultyInput(f"{path}: {len(faults)} faulty lines, the first of them", faults[:20])
    return utterances


def synthetic_lengths(groups: Mapping[str, Group], seed: int) -> list[Utterance]:
    """As many utterances as the dev set, with lengths drawn from its quantiles and equally frequent groups."""
    rng = np.random.default_rng(seed)
    shares, seconds = zip(*DEV_QUANTILES, strict=True)
    names = list(groups)
    utterances = []
    for length in np.interp(rng.random(SYNTHETIC_UTTERANCES), shares, seconds):
        group = groups[names[rng.integers(len(names))]]
        rate = WORDS_PER_SECOND if group.unit == "word" else CHARACTERS_PER_SECOND
        utterances.append(_utterance(group, round(float(length), 2), round(length * rate)))
    return utterances


def _utterance(group: Group, seconds: float, units: int) -> Utterance:
    return Utterance(group.group, max(seconds, 0.01), max(1, round(units * TOKENS_PER_UNIT[group.unit])))


def decoding_batches(utterances: Sequence[Utterance], size: int, count: int) -> list[list[Utterance]]:
    """About `count` utterances in whole batches of a decoding of all `utterances`, spread evenly over the lengths."""
    rows = [{"start": 0.0, "end": u.seconds, "utterance_id": f"{i:08d}"} for i, u in enumerate(utterances)]
    batches = [[utterances[int(row["utterance_id"])] for row in batch] for batch in length_buckets(rows, size)]
    return _spread(batches, size, count)


def training_batches(utterances: Sequence[Utterance], size: int, count: int, seed: int) -> list[list[Utterance]]:
    """About `count` utterances in whole batches of a training pass over all, spread evenly over the lengths."""
    plan = batches_of_pass([u.seconds for u in utterances], size, seed, 0)
    batches = [[utterances[i] for i in batch] for batch in plan]
    return _spread(sorted(batches, key=lambda batch: -sum(u.seconds for u in batch)), size, count)


def unsorted_batches(batches: Sequence[Sequence[Utterance]], seed: int) -> list[list[Utterance]]:
    """The same utterances in as many batches of the same sizes, in random order."""
    flat = [u for batch in batches for u in batch]
    order = iter(np.random.default_rng(seed).permutation(len(flat)))
    return [[flat[next(order)] for _ in batch] for batch in batches]


def _spread(batches: list[list[Utterance]], size: int, utterances: int) -> list[list[Utterance]]:
    """Every n-th of the full batches, which are in order of length: a sample with the same mean length."""
    whole = [batch for batch in batches if len(batch) == size]
    count = max(1, round(utterances / size))
    if count > len(whole):
        raise UserError(f"{count} batches of {size} requested, but the lengths fill only {len(whole)}: request fewer.")
    return [whole[int((i + 0.5) * len(whole) / count)] for i in range(count)]
