"""Which utterances make up each micro-batch: a pure function of (seed, pass, step), bucketed by length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
    # Drop the remainder before sorting: afterwards it would be the longest utterances in every pass.
    order = rng.permutation(len(lengths))[: len(lengths) // batch_size * batch_size]
    length_of = np.asarray(lengths)
    batches: list[list[int]] = []
    for start in range(0, len(order), batch_size * _BATCHES_PER_POOL):
        pool = order[start : start + batch_size * _BATCHES_PER_POOL]
        pool = pool[np.argsort(length_of[pool], kind="stable")]
        batches += [pool[i : i + batch_size].tolist() for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


class BatchPlan:
    """All `count` micro-batches of a stage, as a batch sampler of keys for a DataLoader.

    Raises ValueError if there are too few utterances for one batch.
    """

    def __init__(self, lengths: Sequence[float], batch_size: int, count: int, seed: int) -> None:
        if len(lengths) < batch_size:
            raise ValueError(f"{len(lengths)} utterances do not fill a batch of {batch_size}")
        self.lengths = lengths
        self.batch_size = batch_size  # read by accelerate when it distributes batches over processes
        self.drop_last = True
        self.count = count
        self.seed = seed

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[Key]]:
        left, number = self.count, 0
        while left > 0:
            for batch in batches_of_pass(self.lengths, self.batch_size, self.seed, number)[:left]:
                yield [(number, index) for index in batch]
                left -= 1
            number += 1
