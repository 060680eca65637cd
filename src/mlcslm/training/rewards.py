"""Rewards of the reinforcement stage (paper, section 3.5): pure functions of an answer and its reference, each in 0..1.

The paper gives them in words; what it leaves open is decided here and written down in docs/reasoning.md. Errors are
those of protocol `mlcslm-2025`, whatever protocol the results are scored with. A part of the answer that cannot be read
earns nothing: without a readable reflection only accuracy is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import kaldialign

from mlcslm.text.alignment import Edit, align, count_matches
from mlcslm.text.protocols import Unit, normalise_reference
from mlcslm.text.reflection import Reflection, parse_reflection, units
from mlcslm.text.templates import Answer, parse_answer


@dataclass(frozen=True)
class Judged:
    """A generated answer beside its reference.

    answer: as scoring reads it; reflection: what stands in `<think>`, None where that is missing or another sentence;
    reference: normalised; unit: what the error rate counts.
    """

    answer: Answer
    reflection: Reflection | None
    reference: str
    unit: Unit

    @cached_property
    def meant(self) -> list[str]:
        """Units of the reference."""
        return units(self.reference, self.unit)

    @cached_property
    def final(self) -> list[str]:
        """Units of the final transcript."""
        return units(self.answer.transcript, self.unit)

    @cached_property
    def first(self) -> list[str]:
        """Units of the hypothesis in `<think>`; none without a reflection."""
        return units(self.reflection.hypothesis, self.unit) if self.reflection else []

    @cached_property
    def true_edits(self) -> list[Edit]:
        """Errors of the hypothesis in `<think>`."""
        return align(self.meant, self.first)


def judge(raw: str, reference: str, unit: Unit) -> Judged:
    """Read a generated text, special tokens kept, beside its reference, raw or normalised."""
    answer = parse_answer(raw, "reasoning")
    reflection = parse_reflection(answer.think) if answer.think is not None else None
    return Judged(answer, reflection, normalise_reference(reference), unit)


def format_reward(judged: Judged) -> float:
    """1 if the answer has the template's form and its reflection can be read, else 0.

    >>> format_reward(judge(EXAMPLE, "i make tea", "word"))
    1.0
    >>> format_reward(judge(EXAMPLE.replace("</think>", ""), "i make tea", "word"))
    0.0
    """
    return float(judged.answer.well_formed and judged.reflection is not None)


def accuracy_reward(judged: Judged) -> float:
    """1 less the error rate of the final transcript, 0 from an error rate of 1 on.

    A malformed answer is read as it is when hypotheses are scored; an empty one earns nothing but for an empty
    reference in the template's form.

    >>> accuracy_reward(judge("<LANG_EN> <transcribe> i make tee </transcribe>", "i make tea", "word"))
    0.6666666666666667
    """
    if not judged.meant:
        return float(not judged.final and judged.answer.well_formed)
    return 1 - min(1, _distance(judged.meant, judged.final) / len(judged.meant))


def error_type_reward(judged: Judged) -> float:
    """F1 score of the kinds of error that the reflection names against those that its hypothesis has; 1 if both none.

    >>> error_type_reward(judge(EXAMPLE, "i make tea", "word"))
    1.0
    >>> error_type_reward(judge(EXAMPLE, "i make the tea", "word"))
    0.6666666666666666
    """
    if judged.reflection is None:
        return 0.0
    named, true = judged.reflection.kinds, {edit.kind for edit in judged.true_edits}
    return _f1(len(named & true), len(named), len(true))


def error_detail_reward(judged: Judged) -> float:
    """F1 score of the errors that the reflection names against those that its hypothesis has; 1 if both none.

    An error is right with its kind and its units, and as often as it is there. A list that was cut misses the others.

    >>> [error_detail_reward(judge(EXAMPLE, reference, "word")) for reference in ("i make tea", "i mix tea")]
    [1.0, 0.0]
    """
    if judged.reflection is None:
        return 0.0
    named, true = judged.reflection.edits, judged.true_edits
    return _f1(count_matches(named, true), len(named), len(true))


def correction_reward(judged: Judged, similarity: float) -> float:
    """1 if the final transcript has fewer errors than the hypothesis in `<think>`, or both have none; else 0.

    Against reward hacking, as in the paper: 0 where that hypothesis is less similar to the final transcript than
    `similarity`, 1 less the edits between them a unit of the longer one.

    >>> judged = judge(EXAMPLE, "i make tea", "word")
    >>> correction_reward(judged, 0.5), correction_reward(judged, 0.7)  # one of three words differs
    (1.0, 0.0)
    """
    if judged.reflection is None:
        return 0.0
    changed = _distance(judged.first, judged.final) / max(len(judged.first), len(judged.final), 1)
    if 1 - changed < similarity:
        return 0.0
    first, final = len(judged.true_edits), _distance(judged.meant, judged.final)
    return float(final < first or first == final == 0)


REWARDS: dict[str, Callable[[Judged, float], float]] = {
    "format": lambda judged, _: format_reward(judged),
    "accuracy": lambda judged, _: accuracy_reward(judged),
    "error_type": lambda judged, _: error_type_reward(judged),
    "error_detail": lambda judged, _: error_detail_reward(judged),
    "correction": correction_reward,
}
"""Rewards by the names that a configuration gives them, as functions of the answer and the similarity asked for."""


def reward_table(
    raws: Sequence[str], references: Sequence[str], units: Sequence[Unit], names: Collection[str], similarity: float
) -> dict[str, list[float]]:
    """Rewards `names` of every answer, by name. raws, references, units: of one length, an answer each.

    >>> reward_table([EXAMPLE, ""], ["i make tea"] * 2, ["word"] * 2, ["format", "correction"], 0.5)
    {'format': [1.0, 0.0], 'correction': [1.0, 0.0]}
    """
    judged = [judge(*answer) for answer in zip(raws, references, units, strict=True)]
    return {name: [REWARDS[name](one, similarity) for one in judged] for name in names}


EXAMPLE = (
    "<LANG_EN> <think> The speech sounds like: i mate tea, but it might have some substitution: mate -> make, let me "
    "correct it. </think> <transcribe> i make tea </transcribe>"
)
"""An answer that the doctests are about."""


def _distance(one: Sequence[str], other: Sequence[str]) -> int:
    return kaldialign.edit_distance(one, other)["total"]


def _f1(right: int, named: int, true: int) -> float:
    return 2 * right / (named + true) if named + true else 1.0
