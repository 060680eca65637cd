"""How much faster training is on several GPUs, by simulation: how evenly a step's utterances are dealt to processes.

A micro-batch takes as long as its padded batch, its longest utterance times its size, and a step as long as the process
that has the most to do. Communication is not included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from mlcslm.training.batches import TEXT_S, BatchPlan, deal

DEV_QUANTILES = ((0.0, 0.08), (0.5, 3.72), (0.9, 7.06), (0.99, 8.00), (1.0, 10.0))
"""(share, seconds): median, 90 % and 99 % quantiles of MLC-SLM's dev set, with ends that give its mean of 3.87 s."""
DEV_MEAN_S = 3.87
PROCESSES = (2, 4, 8)
_STEPS = 200
_SEED = 17


def typical_lengths(mean_s: float, count: int) -> list[float]:
    """Seconds of `count` utterances, distributed as in MLC-SLM's dev set, with this mean."""
    shares, seconds = zip(*DEV_QUANTILES, strict=True)
    drawn = np.interp(np.random.default_rng(_SEED).random(count), shares, seconds)
    return [float(value) for value in drawn * mean_s / DEV_MEAN_S]


def micro_batches(
    lengths: Sequence[float], size: int, accumulation: int, *, even: bool = True, seed: int = _SEED
) -> Iterator[list[list[float]]]:
    """Lengths of the utterances of each micro-batch, by step, of one pass; even: cut evenly, as training does."""
    count = len(lengths) // size // accumulation * accumulation
    batches = iter(BatchPlan(lengths, size, count, seed, accumulation=accumulation if even else 1))
    for _ in range(count // accumulation):
        yield [[lengths[index] for _, index in batch] for batch in islice(batches, accumulation)]


def slowest(costs: Sequence[float], processes: int) -> float:
    """The cost of the process that has the most to do, if micro-batches of these costs are taken in turn."""
    return max(sum(costs[rank::processes]) for rank in range(processes))


def supervised(lengths: Sequence[float], size: int, accumulation: int) -> dict[int, float]:
    """By number of processes, those of `PROCESSES` that share the micro-batches evenly: how many times as fast.

    Empty if there are too few lengths for a step.
    """
    if len(lengths) < size * accumulation:
        return {}
    steps = [
        [len(batch) * (max(batch) + TEXT_S) for batch in step]
        for step in islice(micro_batches(lengths, size, accumulation), _STEPS)
    ]
    return {
        count: sum(map(sum, steps)) / sum(slowest(costs, count) for costs in steps)
        for count in PROCESSES
        if accumulation % count == 0
    }


def reinforcement(
    lengths: Sequence[float], size: int, accumulation: int, learning_s: float, sampling_s: Callable[[int], float]
) -> Mapping[int, float]:
    """The same, where a step is learning, dealt by utterance, and sampling in one batch per process.

    learning_s: seconds of one process; sampling_s: those of sampling answers to so many utterances, which falls little
    with their number: each token of an answer takes a pass over the weights however many answers there are.
    """
    utterances = size * accumulation
    if len(lengths) < utterances:
        return {}
    plan = BatchPlan(lengths, utterances, min(_STEPS, len(lengths) // utterances), _SEED)
    steps = list(plan)
    found = {}
    for count in (count for count in PROCESSES if accumulation % count == 0):
        shares = [deal(step, lengths, count) for step in steps]
        loads = [[sum(lengths[index] + TEXT_S for _, index in share) for share in step] for step in shares]
        share = sum(map(max, loads)) / sum(map(sum, loads))
        alone = learning_s + sampling_s(utterances)
        found[count] = alone / (learning_s * share + sampling_s(utterances // count))
    return found
