"""Consensus: of several answers to an utterance, the one with the fewest expected errors (minimum Bayes risk).

Each candidate is scored against every other as if that were the reference, in the units of the group's error rate. The
fewest errors on average, rather than the lowest mean error rate: error rates are pooled over a split, where an error
counts the same in a short utterance as in a long one, and an empty candidate has no error rate at all.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Literal

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.languages import Group
from mlcslm.decoding.long_utterances import STOP_REASONS
from mlcslm.decoding.search import Samples, ScoredAnswer
from mlcslm.scoring.wer import align_counts
from mlcslm.text.protocols import get_protocol

_PROTOCOL = get_protocol("mlcslm-2025")
_SAME_RISK = 1e-6  # errors; sums of probabilities are rounded differently in batches of different sizes


def candidate_requests(decoding: DecodingConfig) -> list[Samples]:
    """The searches that give the candidates of a consensus, the greedy one first."""
    consensus = decoding.consensus
    if consensus is None:
        raise ValueError(f"method {decoding.method!r} has no candidates")
    settings: dict[str, Any] = {
        name: getattr(decoding, name) for name in ("max_new_tokens", "stop_loops", "temperature", "seed")
    }
    source = DecodingConfig(
        method="multinomial" if consensus.source == "samples" else "beam", beams=decoding.beams, **settings
    )
    requests = [Samples(DecodingConfig(**settings), 1)] if consensus.greedy else []
    if others := consensus.candidates - len(requests):
        requests.append(Samples(source, others))
    return requests


def candidate_weights(
    answers: Sequence[ScoredAnswer], weights: Literal["uniform", "probability", "ctc"], heard: Sequence[float] = ()
) -> list[float]:
    """How much each candidate counts: 1, or its probability, renormalised; one that repeats another then counts 0.

    heard: with weights "ctc", log-probability of each candidate's letters, given the audio; where all are impossible,
    each candidate counts the same.

    >>> sure, unsure = ScoredAnswer([1, 2], math.log(0.06)), ScoredAnswer([3], math.log(0.02))
    >>> candidate_weights([sure, unsure, unsure], "uniform")
    [1.0, 1.0, 1.0]
    >>> [round(weight, 2) for weight in candidate_weights([sure, unsure, unsure], "probability")]
    [0.75, 0.25, 0.0]
    >>> [round(weight, 2) for weight in candidate_weights([sure, unsure, unsure], "ctc", [math.log(0.2)] * 3)]
    [0.5, 0.5, 0.0]
    """
    if weights == "uniform":
        return [1.0] * len(answers)
    log_probs = heard if weights == "ctc" else [answer.log_prob for answer in answers]
    distinct: dict[tuple[int, ...], float] = {}
    for answer, log_prob in zip(answers, log_probs, strict=True):
        distinct.setdefault(tuple(answer.ids), log_prob)
    highest = max(distinct.values())
    if highest == -math.inf:
        return [1.0] * len(answers)
    total = sum(math.exp(one - highest) for one in distinct.values())
    return [math.exp(distinct.pop(tuple(answer.ids), -math.inf) - highest) / total for answer in answers]


def choose(candidates: Sequence[dict[str, Any]], weights: Sequence[float], group: Group) -> int:
    """Index of the candidate with the fewest expected errors, counted as `mlcslm-2025` counts those of `group`.

    candidates: hypotheses (rows of `decoder.SCHEMA`), whatever their form; weights: of each as a reference. Of equals,
    well-formed ones go before malformed ones, those before truncated ones, and then the first wins.
    """
    weight_of: defaultdict[str, float] = defaultdict(float)
    for candidate, weight in zip(candidates, weights, strict=True):
        weight_of[candidate["transcript"] or ""] += weight
    heard = {text: _PROTOCOL.hypothesis_tokens(text, group) for text in weight_of}
    meant = {text: _PROTOCOL.reference_tokens(text, group) for text in weight_of}
    risks = {
        text: sum(weight * align_counts(meant[other], tokens).errors for other, weight in weight_of.items())
        for text, tokens in heard.items()
    }
    lowest = min(risks.values())
    tied = [n for n, one in enumerate(candidates) if risks[one["transcript"] or ""] <= lowest + _SAME_RISK]
    return min(tied, key=lambda n: (STOP_REASONS.index(candidates[n]["stop_reason"]), n))


def consensus_hypothesis(
    candidates: Sequence[dict[str, Any]],
    answers: Sequence[ScoredAnswer],
    decoding: DecodingConfig,
    group: Group,
    heard: Sequence[float] = (),
) -> dict[str, Any]:
    """The chosen one of `candidates`, the hypotheses that `answers` spell, with all their transcripts.

    heard: see `candidate_weights`.
    """
    if decoding.consensus is None:
        raise ValueError(f"method {decoding.method!r} has no candidates")
    chosen = choose(candidates, candidate_weights(answers, decoding.consensus.weights, heard), group)
    return candidates[chosen] | {"candidates": [one["transcript"] for one in candidates]}
