"""Which utterances make up each step and micro-batch: a pure function of (seed, pass, step), bucketed by length.

A step's utterances are drawn first and distributed over its micro-batches and processes afterwards, so that the number
of processes changes nothing but how long the step takes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

# Utterances are sorted by length within pools of this many batches: little padding, yet a new mix in each pass.
_BATCHES_PER_POOL = 50

Key = tuple[int, int]
"""(pass over the data, index of the utterance): what a dataset is indexed by."""


def batches_of_pass(lengths: Sequence[float], batch_size: int, seed: int, number: int) -> list[list[int]]:
    """Batches of pass `number` over utterances of the given lengths, in training order.

    Each has exactly `batch_size` utterances of similar length; the few left over differ from pass to pass.

    >>> batches_of_pass([3, 1, 2, 4], 2, seed=0, number=0) == batches_of_pass([3, 1, 2, 4], 2, seed=0, number=0)
    True
    """
    rng = np.random.default_rng([seed, number])
    return _bucketed(rng.permutation(len(lengths)), lengths, batch_size, rng)


def keys_of_pass(
    lengths: Sequence[float], batch_size: int, seed: int, number: int, languages: Sequence[str], temperature: float
) -> list[list[Key]]:
    """As `batches_of_pass`, with languages drawn in proportion to n^(1 / temperature), n being their utterances.

    The pass is as long, but has some utterances several times, or not at all. Each copy counts as a pass of its own, so
    that it is augmented differently.
    """
    rng = np.random.default_rng([seed, number])
    of_language: dict[str, list[int]] = {}
    for index, language in enumerate(languages):
        of_language.setdefault(language, []).append(index)
    counts = language_counts({name: len(indices) for name, indices in of_language.items()}, temperature)
    copies = max(-(-counts[name] // len(indices)) for name, indices in of_language.items())
    drawn: list[Key] = []
    for name, indices in sorted(of_language.items()):
        for start in range(0, counts[name], len(indices)):
            chosen = rng.permutation(indices)[: counts[name] - start]
            drawn += [(number * copies + start // len(indices), index) for index in chosen.tolist()]
    order = rng.permutation(len(drawn))
    batches = _bucketed(order, [lengths[index] for _, index in drawn], batch_size, rng)
    return [[drawn[place] for place in batch] for batch in batches]


def language_counts(utterances: Mapping[str, int], temperature: float) -> dict[str, int]:
    """How often a pass draws each language, given its number of utterances: as often in all as there are utterances.

    >>> language_counts({"en": 900, "th": 100}, 2.0), language_counts({"en": 900, "th": 100}, 1.0)
    ({'en': 750, 'th': 250}, {'en': 900, 'th': 100})
    """
    total = sum(utterances.values())
    weights = {name: math.exp(math.log(count) / temperature) for name, count in utterances.items()}
    exact = {name: total * weight / sum(weights.values()) for name, weight in weights.items()}
    counts = {name: int(share + 1e-9) for name, share in exact.items()}
    # Largest remainders first; of equal ones, the first by name.
    rest = sorted(exact, key=lambda name: (counts[name] - exact[name], name))[: total - sum(counts.values())]
    return {name: count + (name in rest) for name, count in counts.items()}


def _bucketed(
    order: np.ndarray, lengths: Sequence[float], batch_size: int, rng: np.random.Generator
) -> list[list[int]]:
    """The utterances in batches of similar length, in random order; `order` says which share a pool."""
    # Drop the remainder before sorting: afterwards it would be the longest utterances in every pass.
    order = order[: len(order) // batch_size * batch_size]
    length_of = np.asarray(lengths)
    batches: list[list[int]] = []
    for start in range(0, len(order), batch_size * _BATCHES_PER_POOL):
        pool = order[start : start + batch_size * _BATCHES_PER_POOL]
        pool = pool[np.argsort(length_of[pool], kind="stable")]
        batches += [pool[i : i + batch_size].tolist() for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


class BatchPlan:
    """All `count` micro-batches of a stage, as a batch sampler of keys for a DataLoader.

    accumulation: micro-batches per step, over which the step's utterances are distributed so that each costs the same
    (`even_cuts`); processes take them in turn. languages, temperature: see `keys_of_pass`; by default each pass has
    every utterance once. after: utterances drawn before, by the stages that this one goes on from: the plan goes on
    where they ended. Raises ValueError if there are too few utterances for one micro-batch.
    """

    def __init__(
        self,
        lengths: Sequence[float],
        batch_size: int,
        count: int,
        seed: int,
        accumulation: int = 1,
        *,
        languages: Sequence[str] = (),
        temperature: float = 1.0,
        after: int = 0,
    ) -> None:
        if len(lengths) < batch_size:
            raise ValueError(f"{len(lengths)} utterances do not fill a batch of {batch_size}")
        self.lengths = lengths
        self.size = batch_size
        # Read by accelerate when it distributes batches over processes; None: they differ in size.
        self.batch_size = batch_size if accumulation == 1 else None
        self.drop_last = True
        self.count = count
        self.seed = seed
        self.accumulation = accumulation
        self.languages = languages
        self.temperature = temperature
        self.after = after

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[Key]]:
        drawn = self._drawn()
        for _ in range(0, self.count, self.accumulation):
            step = list(itertools.islice(drawn, self.accumulation))
            if self.accumulation == 1:
                yield from step
            else:
                keys = [key for batch in step for key in batch]
                cuts = even_cuts(keys, [self.lengths[index] for _, index in keys], self.accumulation)
                # Processes take every n-th: this way those who get short utterances first get long ones later.
                half = self.accumulation // 2
                yield from [*cuts[:half], *reversed(cuts[half:])]

    def _drawn(self) -> Iterator[list[Key]]:
        left = self.count
        number, skipped = divmod(self.after // self.size, len(self.lengths) // self.size)
        while left > 0:
            for batch in self._pass(number)[skipped:][:left]:
                yield batch
                left -= 1
            number, skipped = number + 1, 0

    def _pass(self, number: int) -> list[list[Key]]:
        drawn = self.lengths, self.size, self.seed, number
        if self.temperature == 1:
            return [[(number, index) for index in batch] for batch in batches_of_pass(*drawn)]
        return keys_of_pass(*drawn, self.languages, self.temperature)


def even_cuts(keys: Sequence[Key], lengths: Sequence[float], count: int) -> list[list[Key]]:
    """The keys in `count` groups of similar length whose costs are as even as possible, shortest utterances first.

    A group costs what its padded batch does, (its longest + TEXT_S) times its size: many short utterances take as long,
    and as much memory, as few long ones.

    >>> even_cuts([(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)], [1.0, 9.0, 1.0, 1.0, 1.0], 2)
    [[(0, 0), (0, 2), (0, 3), (0, 4)], [(0, 1)]]
    """
    order = sorted(range(len(keys)), key=lambda i: (lengths[i], keys[i]))
    costs = [lengths[i] + TEXT_S for i in order]
    low, high = max(costs), len(costs) * max(costs)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if len(_starts(costs, middle)) <= count else (middle, high)
    starts = _starts(costs, high)
    while len(starts) < count:  # split the largest
        sizes = [end - start for start, end in zip(starts, [*starts[1:], len(costs)], strict=True)]
        largest = sizes.index(max(sizes))
        starts.insert(largest + 1, starts[largest] + sizes[largest] // 2)
    ends = [*starts[1:], len(costs)]
    return [[keys[i] for i in order[start:end]] for start, end in zip(starts, ends, strict=True)]


def _starts(costs: Sequence[float], budget: float) -> list[int]:
    """Where groups begin if each takes as many of the ascending `costs` as its size times its largest allows."""
    starts = [0]
    for i, cost in enumerate(costs):
        if i > starts[-1] and (i + 1 - starts[-1]) * cost > budget:
            starts.append(i)
    return starts


TEXT_S = 0.8
"""A prompt's and an answer's fixed tokens cost about as much as this much speech: some 12 tokens, where a second of
speech is 10 audio tokens, 4 of text, and 50 frames of the encoder."""
_BISECTIONS = 30


def deal(keys: Sequence[Key], lengths: Sequence[float], processes: int) -> list[list[Key]]:
    """The keys of a step for each process: equally many, of nearly the same total length. Order by order of length.

    Raises ValueError if they cannot be equally many.

    >>> deal([(0, 0), (0, 1), (0, 2), (0, 3)], [1.0, 9.0, 8.0, 2.0], 2)
    [[(0, 1), (0, 0)], [(0, 2), (0, 3)]]
    """
    if len(keys) % processes:
        raise ValueError(f"{len(keys)} utterances cannot be shared evenly by {processes} processes")
    ordered = sorted(keys, key=lambda key: (-lengths[key[1]], key))
    shares: list[list[Key]] = [[] for _ in range(processes)]
    for start in range(0, len(ordered), processes):
        # The longest that are left to those who have the least so far.
        least_first = sorted(range(processes), key=lambda rank: sum(lengths[key[1]] for key in shares[rank]))
        for rank, key in zip(least_first, ordered[start : start + processes], strict=True):
            shares[rank].append(key)
    return shares
