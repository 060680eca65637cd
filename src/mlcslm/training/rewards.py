"""Rewards of reinforcement stages (paper, section 3.5): pure functions of an answer and its reference.

The paper describes five in words, each in 0..1; docs/reasoning.md records how the details it leaves open are settled
here. `error_rate` (at most 1) and `errors` (at most 0) are not clipped. Errors are counted under protocol
`mlcslm-2025`, whatever protocol the results are scored with. An unreadable part of the answer earns nothing: without a
readable reflection only the rewards of the final transcript remain.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import kaldialign

from mlcslm.text.alignment import Edit, align, count_matches
from mlcslm.text.protocols import Unit, normalise_reference
from mlcslm.text.reflection import Reflection, parse_reflection, units
from mlcslm.text.templates import Answer, Template, parse_answer


@dataclass(frozen=True)
class Judged:
    """A generated answer with its reference.

    answer: as parsed for scoring; reflection: parsed from `<think>`, None if that is missing or does not have its form;
    reference: normalised; unit: of the error rate; language: the token expected, None if any or none will do;
    template: of the answer.
    """

    answer: Answer
    reflection: Reflection | None
    reference: str
    unit: Unit
    language: str | None = None
    template: Template = "reasoning"

    @cached_property
    def reference_units(self) -> list[str]:
        """Units of the reference."""
        return units(self.reference, self.unit)

    @cached_property
    def transcript_units(self) -> list[str]:
        """Units of the final transcript."""
        return units(self.answer.transcript, self.unit)

    @cached_property
    def hypothesis_units(self) -> list[str]:
        """Units of the hypothesis in `<think>`; empty without a reflection."""
        return units(self.reflection.hypothesis, self.unit) if self.reflection else []

    @cached_property
    def true_edits(self) -> list[Edit]:
        """Errors of the hypothesis in `<think>`."""
        return align(self.reference_units, self.hypothesis_units)

    @cached_property
    def errors(self) -> int:
        """Errors of the final transcript."""
        return _distance(self.reference_units, self.transcript_units)

    def reflects(self, similarity: float) -> bool:
        """Whether there is a reflection, on a hypothesis at least this similar to the final transcript.

        Similarity is 1 minus the edits between the two per unit of the longer one. Against reward hacking: errors of a
        made-up hypothesis are easy to name and to correct.
        """
        if self.reflection is None:
            return False
        hypothesis, transcript = self.hypothesis_units, self.transcript_units
        changed = _distance(hypothesis, transcript) / max(len(hypothesis), len(transcript), 1)
        return 1 - changed >= similarity


def judge(
    raw: str, reference: str, unit: Unit, language: str | None = None, template: Template = "reasoning"
) -> Judged:
    """Parse a generated text (special tokens kept) and pair it with its reference, raw or normalised."""
    answer = parse_answer(raw, template)
    reflection = parse_reflection(answer.think) if answer.think is not None else None
    return Judged(answer, reflection, normalise_reference(reference), unit, language, template)


def format_reward(judged: Judged) -> float:
    """1 if the answer follows the template with the right language token and, if the template has one, a readable
    reflection on something: its hypothesis may only be empty if the final transcript is. Else 0.

    >>> format_reward(judge(EXAMPLE, "i make tea", "word", "<LANG_EN>"))
    1.0
    >>> format_reward(judge(EXAMPLE, "i make tea", "word", "<LANG_FR>"))
    0.0
    >>> format_reward(judge(EXAMPLE.replace("</think>", ""), "i make tea", "word", "<LANG_EN>"))
    0.0
    """
    speaks = judged.template == "plain" or judged.language in (None, judged.answer.language)
    right = judged.answer.well_formed and speaks
    if judged.template == "reasoning":
        reflects = judged.reflection is not None and (bool(judged.hypothesis_units) or not judged.transcript_units)
        right = right and reflects
    return float(right)


def accuracy_reward(judged: Judged) -> float:
    """1 minus the error rate of the final transcript, at least 0.

    A malformed answer is read as in scoring; an empty transcript earns 1 only if the reference is empty too and the
    answer follows the template.

    >>> accuracy_reward(judge("<LANG_EN> <transcribe> i make tee </transcribe>", "i make tea", "word"))
    0.6666666666666667
    """
    if not judged.reference_units:
        return float(not judged.transcript_units and judged.answer.well_formed)
    return 1 - min(1, judged.errors / len(judged.reference_units))


def error_rate_reward(judged: Judged) -> float:
    """1 minus the error rate of the final transcript, however far below 0: running on costs more than silence.

    A reference without units counts as one.

    >>> error_rate_reward(judge("a a a a a a", "a b", "word", template="plain"))
    -1.5
    """
    return 1 - judged.errors / max(1, len(judged.reference_units))


def errors_reward(judged: Judged) -> float:
    """Minus the number of errors of the final transcript: their sum is what pooled error rates count.

    >>> errors_reward(judge("a a a a a a", "a b", "word", template="plain"))
    -5.0
    """
    return -float(judged.errors)


def error_type_reward(judged: Judged, similarity: float) -> float:
    """F1 score of the kinds of error that the reflection names against those in its hypothesis; 1 if neither has any.

    0 if the hypothesis is less similar to the final transcript than `similarity`, as for the next two.

    >>> error_type_reward(judge(EXAMPLE, "i make tea", "word"), 0.5)
    1.0
    >>> error_type_reward(judge(EXAMPLE, "i make the tea", "word"), 0.5)
    0.6666666666666666
    """
    if judged.reflection is None or not judged.reflects(similarity):
        return 0.0
    named, true = judged.reflection.kinds, {edit.kind for edit in judged.true_edits}
    return _f1(len(named & true), len(named), len(true))


def error_detail_reward(judged: Judged, similarity: float) -> float:
    """F1 score of the errors that the reflection names against those in its hypothesis; 1 if neither has any.

    An error matches by kind and units, as many times as it occurs. A truncated list misses the rest.

    >>> [error_detail_reward(judge(EXAMPLE, reference, "word"), 0.5) for reference in ("i make tea", "i mix tea")]
    [1.0, 0.0]
    """
    if judged.reflection is None or not judged.reflects(similarity):
        return 0.0
    named, true = judged.reflection.edits, judged.true_edits
    return _f1(count_matches(named, true), len(named), len(true))


def correction_reward(judged: Judged, similarity: float) -> float:
    """1 if the final transcript has fewer errors than the hypothesis in `<think>`, or both have none; else 0.

    0 if that hypothesis is less similar to the final transcript than `similarity`, as in the paper.

    >>> judged = judge(EXAMPLE, "i make tea", "word")
    >>> correction_reward(judged, 0.5), correction_reward(judged, 0.7)  # one of three words differs
    (1.0, 0.0)
    """
    if not judged.reflects(similarity):
        return 0.0
    before, after = len(judged.true_edits), judged.errors
    return float(after < before or before == after == 0)


REWARDS: dict[str, Callable[[Judged, float], float]] = {
    "format": lambda judged, _: format_reward(judged),
    "accuracy": lambda judged, _: accuracy_reward(judged),
    "error_type": error_type_reward,
    "error_detail": error_detail_reward,
    "correction": correction_reward,
    "error_rate": lambda judged, _: error_rate_reward(judged),
    "errors": lambda judged, _: errors_reward(judged),
}
"""Rewards by their names in a configuration, as functions of the answer and the required similarity."""


def reward_table(
    raws: Sequence[str],
    references: Sequence[str],
    units: Sequence[Unit],
    names: Collection[str],
    similarity: float,
    *,
    languages: Sequence[str | None] | None = None,
    template: Template = "reasoning",
) -> dict[str, list[float]]:
    """Rewards `names` of every answer, by name. raws, references, units: of equal length, one per answer.

    languages: the language token expected of each answer; by default any will do.

    >>> reward_table([EXAMPLE, ""], ["i make tea"] * 2, ["word"] * 2, ["format", "correction"], 0.5)
    {'format': [1.0, 0.0], 'correction': [1.0, 0.0]}
    """
    tokens = [None] * len(raws) if languages is None else languages
    judged = [judge(*answer, template) for answer in zip(raws, references, units, tokens, strict=True)]
    return {name: [REWARDS[name](one, similarity) for one in judged] for name in names}


EXAMPLE = (
    "<LANG_EN> <think> The speech sounds like: i mate tea, but it might have some substitution: mate -> make, let me "
    "correct it. </think> <transcribe> i make tea </transcribe>"
)
"""The answer used in the doctests."""


def _distance(one: Sequence[str], other: Sequence[str]) -> int:
    return kaldialign.edit_distance(one, other)["total"]


def _f1(right: int, named: int, true: int) -> float:
    return 2 * right / (named + true) if named + true else 1.0
