"""Hand-worked rewards, and ways in which a policy might try to hack them."""

from __future__ import annotations

from typing import Any, get_args

import kaldialign
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.config.stages import Reward
from mlcslm.text.reflection import write_reflection
from mlcslm.training.rewards import REWARDS, judge, reward_table

ALL = list(get_args(Reward))
NAMES = ALL[:5]
"""The paper's; the others are not between 0 and 1."""


def answer(first: str, details: str, final: str) -> str:
    think = f"The speech sounds like: {first}, but it might have some {details}, let me correct it."
    return f"<LANG_EN> <think> {think} </think> <transcribe> {final} </transcribe><|im_end|>"


def rewards(raw: str, reference: str, unit: Any = "word", similarity: float = 0.5) -> dict[str, float]:
    return {name: values[0] for name, values in reward_table([raw], [reference], [unit], NAMES, similarity).items()}


def expect(**values: float) -> Any:
    """All five in the configuration's order; missing ones are 0."""
    return pytest.approx({name: values.get(name, 0.0) for name in NAMES})


def test_every_reward_of_the_configuration_exists() -> None:
    assert list(REWARDS) == ALL


def test_analysing_and_correcting_a_wrong_hypothesis_earns_everything() -> None:
    raw = answer("i mate you tea um", "substitution: mate -> make; deletion: a; insertion: um", "i make you a tea")
    # 3 errors between 5 words and 5: a similarity of 0.4.
    assert rewards(raw, "I make you a tea.", similarity=0.4) == expect(
        format=1, accuracy=1, error_type=1, error_detail=1, correction=1
    )


def test_a_correct_hypothesis_earns_everything() -> None:
    """No error is claimed and there is none, so types and details are right; nothing needs correcting."""
    raw = answer("i make tea", "errors: none", "i make tea")
    assert rewards(raw, "i make tea") == expect(format=1, accuracy=1, error_type=1, error_detail=1, correction=1)


def test_each_is_measured_against_the_hypothesis_in_think_and_the_final_answer() -> None:
    # Heard: 1 substitution, 1 deletion of 4 words. Named: the substitution, correctly, and a false insertion.
    # Types: {s, i} and {s, d}: 2 * 1 / 4. Details: 1 right of 2 named and 2 true: 1/2. Final: 1 error of 4.
    raw = answer("we mate tea", "substitution: mate -> make; insertion: we", "we make the tea")
    assert rewards(raw, "we make some tea") == expect(
        format=1, accuracy=0.75, error_type=0.5, error_detail=0.5, correction=1
    )


def test_details_need_the_right_units_and_kinds_need_none() -> None:
    raw = answer("we mate tea", "substitution: mate -> mix", "we mix tea")
    assert rewards(raw, "we make tea") == expect(format=1, accuracy=2 / 3, error_type=1, error_detail=0, correction=0)


def test_claiming_no_error_where_there_is_one_earns_neither_type_nor_detail() -> None:
    raw = answer("we mate tea", "errors: none", "we mate tea")
    assert rewards(raw, "we make tea") == expect(format=1, accuracy=2 / 3)


def test_hallucinated_errors_of_a_right_hypothesis_earn_nothing() -> None:
    raw = answer("we make tea", "deletion: a; insertion: we; substitution: tea -> coffee", "we make tea")
    assert rewards(raw, "we make tea") == expect(format=1, accuracy=1, correction=1)


def test_always_naming_every_kind_does_not_pay() -> None:
    # All three kinds for one true kind: 2 * 1 / (3 + 1).
    raw = answer("we mate tea", "substitution: mate -> make; deletion: x; insertion: y", "we make tea")
    assert rewards(raw, "we make tea")["error_type"] == 0.5
    assert rewards(raw, "we make tea")["error_detail"] == 0.5


def test_repeating_a_correct_detail_does_not_pay() -> None:
    raw = answer("we mate tea", "substitution: mate -> make, mate -> make, mate -> make", "we make tea")
    assert rewards(raw, "we make tea")["error_detail"] == 2 * 1 / (3 + 1)


def test_a_truncated_list_misses_the_rest() -> None:
    raw = answer("a b", "deletion: c, d, ...", "a b c d e f")
    assert rewards(raw, "a b c d e f", similarity=0.3)["error_detail"] == 2 * 2 / (2 + 4)
    assert rewards(raw, "a b c d e f", similarity=0.3)["error_type"] == 1


@pytest.mark.parametrize(
    ("first", "final", "similarity", "expected"),
    [
        ("we make tee", "we make tea", 0.5, 1),  # 1 error, then 0
        ("we mate tee", "we make tee", 0.5, 1),  # 2, then 1: improving is enough
        ("we mate tea", "we mate tea", 0.0, 0),  # unchanged
        ("we mate tea", "we mix tea", 0.0, 0),  # still one
        ("we make tea", "we make tee", 0.0, 0),  # made worse
        ("we make tea", "we make tea", 1.0, 1),  # right and left alone
        ("", "we make tea", 0.01, 0),  # an empty hypothesis resembles nothing
        ("", "we make tea", 0.0, 1),  # without a gate this trick works
        ("x", "we make tea", 0.3, 0),
        ("tea", "we make tea", 0.4, 0),  # 1 of 3 words: similarity 1/3
        ("tea", "we make tea", 0.3, 1),
        ("we make tea x y z", "we make tea", 0.5, 1),  # similarity 3/6
        ("we make tea x y z w", "we make tea", 0.5, 0),  # similarity 3/7
    ],
)
def test_correction(first: str, final: str, similarity: float, expected: int) -> None:
    raw = answer(first, "errors: none", final)
    assert rewards(raw, "we make tea", similarity=similarity)["correction"] == expected


def test_both_empty_is_similar_and_right_only_where_nothing_was_said() -> None:
    raw = answer("", "errors: none", "")
    assert rewards(raw, "") == expect(format=1, accuracy=1, error_type=1, error_detail=1, correction=1)
    assert rewards(raw, "yes") == expect(format=1)


@pytest.mark.parametrize(
    "raw",
    [
        "<LANG_EN> <think>  </think> <transcribe> we make tea </transcribe>",
        "<LANG_EN> <think> let me think </think> <transcribe> we make tea </transcribe>",
        "<LANG_EN> <transcribe> we make tea </transcribe>",
        "<LANG_EN> <think> The speech sounds like: we make tea </think> <transcribe> we make tea </transcribe>",
        answer("we make tea", "substitution", "we make tea"),
        answer("we make tea", "", "we make tea"),
    ],
    ids=["empty think", "prose", "no think", "half a sentence", "kind alone", "no details"],
)
def test_without_a_readable_reflection_only_accuracy_remains(raw: str) -> None:
    assert rewards(raw, "we make tea", similarity=0.0) == expect(accuracy=1)


@pytest.mark.parametrize(
    "broken",
    [
        lambda raw: raw.replace("<LANG_EN> ", ""),
        lambda raw: raw.replace(" </transcribe>", ""),
        lambda raw: f"{raw} <transcribe> we make tea </transcribe>",
        lambda raw: f"yes {raw}",
        lambda raw: raw.replace("<transcribe>", "<transcribe> <think>"),
    ],
    ids=["no language", "not closed", "twice", "chatter", "nested"],
)
def test_a_broken_format_earns_no_format(broken: Any) -> None:
    raw = broken(answer("we make tea", "errors: none", "we make tea"))
    assert rewards(raw, "we make tea")["format"] == 0


@pytest.mark.parametrize("raw", ["", "<|im_end|>", "<think>", "<LANG_EN> <think> </think> <transcribe> </transcribe>"])
def test_nothing_earns_nothing(raw: str) -> None:
    assert rewards(raw, "we make tea", similarity=0.0) == expect()
    assert rewards(raw, "", similarity=0.0) == expect(accuracy=float("transcribe" in raw))


def test_run_ons_are_not_worse_than_nothing() -> None:
    assert rewards(answer("tea", "errors: none", "no " * 200), "tea")["accuracy"] == 0


def test_character_groups_count_characters() -> None:
    raw = answer("これわ見る", "substitution: わ -> は", "これは見た")
    assert rewards(raw, "これは、見る。", "character") == expect(
        format=1, accuracy=0.8, error_type=1, error_detail=1, correction=0
    )
    # 1 error each: これわ見る and これは見た. Counted in words it would be a single unit.
    assert rewards(raw, "これは、見る。", "word")["accuracy"] == 0


def test_punctuation_and_capitals_in_the_answer_are_errors_as_when_scored() -> None:
    assert rewards(answer("Yes.", "errors: none", "Yes."), "Yes.")["accuracy"] == 0


def test_a_table_keeps_the_order_of_the_answers() -> None:
    raws = [answer("a", "errors: none", "a"), "", answer("b d", "substitution: b -> c", "c d")]
    # The third names its error truly, and its hypothesis is just similar enough: one of two units.
    table = reward_table(raws, ["a", "a", "c d"], ["word"] * 3, ["accuracy", "error_detail"], 0.5)
    assert table == {"accuracy": [1, 0, 1], "error_detail": [1, 0, 1]}
    with pytest.raises(ValueError):
        reward_table(raws, ["a"], ["word"] * 3, ["accuracy"], 0.5)
    with pytest.raises(KeyError):
        reward_table(raws, ["a"] * 3, ["word"] * 3, ["speed"], 0.5)


SENTENCES = st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join)


@given(SENTENCES, SENTENCES, SENTENCES, st.floats(0, 1))
def test_the_training_target_earns_all_that_its_hypothesis_allows(
    first: str, reference: str, final: str, similarity: float
) -> None:
    """Reflections as written for stage 4 are right in every detail; all rewards stay within 0 and 1.

    Details only count if the hypothesis resembles the final transcript, and the form if there is a hypothesis.
    """
    think = write_reflection(first, reference, "word", longest=99)
    raw = f"<LANG_EN> <think> {think} </think> <transcribe> {final} </transcribe>"
    earned = rewards(raw, reference, similarity=similarity)
    assert all(0 <= value <= 1 for value in earned.values())
    changed = kaldialign.edit_distance(first.split(), final.split())["total"]
    alike = 1 - changed / max(len(first.split()), len(final.split()), 1) >= similarity
    assert earned["error_type"] == earned["error_detail"] == float(alike)
    assert earned["format"] == float(bool(first) or not final)


@given(st.text(max_size=60), SENTENCES)
def test_any_text_can_be_judged(raw: str, reference: str) -> None:
    assert all(0 <= value <= 1 for value in rewards(raw, reference).values())


def test_judged_units_are_readable() -> None:
    judged = judge(answer("we mate", "errors: none", "we make"), "We make!", "word")
    assert (judged.reference, judged.hypothesis_units, judged.transcript_units) == (
        "we make",
        ["we", "mate"],
        ["we", "make"],
    )
    assert [edit.heard for edit in judged.true_edits] == ["mate"]


LONG = "we make some tea for you"


@pytest.mark.parametrize(
    ("first", "details"),
    [
        ("", "deletion: we, make, some, tea, for, you"),
        ("um um um um um um", "substitution: um -> we, um -> make, um -> some, um -> tea, um -> for, um -> you"),
        ("we", "deletion: make, some, tea, for, you"),
        (f"{LONG} a b c d e f g", "insertion: a, b, c, d, e, f, g"),
    ],
    ids=["nothing heard", "all made up", "one word", "padded"],
)
def test_errors_of_a_made_up_hypothesis_earn_nothing(first: str, details: str) -> None:
    """Every named error is true, and the final transcript right: without the gate, full marks for nothing."""
    raw = answer(first, details, LONG)
    assert rewards(raw, LONG, similarity=0.0)["error_detail"] == 1
    earned = rewards(raw, LONG)
    assert (earned["error_type"], earned["error_detail"], earned["correction"]) == (0, 0, 0)
    assert earned["accuracy"] == 1
    assert earned["format"] == float(bool(first)), "a reflection on nothing has no form either"


def test_the_gate_lets_honest_hypotheses_pass() -> None:
    raw = answer("we make sum tea for", "substitution: sum -> some; deletion: you", LONG)
    assert rewards(raw, LONG) == expect(format=1, accuracy=1, error_type=1, error_detail=1, correction=1)


def test_a_right_hypothesis_before_an_empty_answer_earns_no_more_than_its_form() -> None:
    assert rewards(answer(LONG, "errors: none", ""), LONG) == expect(format=1)


@pytest.mark.parametrize(("token", "earned"), [("<LANG_EN>", 1), ("<LANG_FR>", 0), ("<LANG_XX>", 0)])
@pytest.mark.parametrize("template", ["tagged", "tagged-own-language", "reasoning"])
def test_the_language_token_counts_for_the_form(token: str, earned: int, template: Any) -> None:
    raw = (
        answer("tea", "errors: none", "tea") if template == "reasoning" else "<LANG_EN> <transcribe> tea </transcribe>"
    )
    raws = [raw.replace("<LANG_EN>", token)]
    table = reward_table(raws, ["tea"], ["word"], ["format"], 0.5, languages=["<LANG_EN>"], template=template)
    assert table == {"format": [earned]}


def test_plain_transcripts_have_no_language_token_and_no_tags() -> None:
    raws = [" we make tea", "<LANG_EN> we make tea", " we make tea </transcribe>"]
    table = reward_table(
        raws,
        ["we make tea"] * 3,
        ["word"] * 3,
        ["format", "accuracy"],
        0.5,
        languages=["<LANG_EN>"] * 3,
        template="plain",
    )
    assert table == {"format": [1, 0, 0], "accuracy": [1, 1, 1]}


def test_error_rates_are_not_clipped() -> None:
    """Three words; 0, 1, 3 (silence) and 9 errors: running on costs three times as much as saying nothing."""
    finals = ["we make tea", "we make tee", "", "no " * 9 + "we make tea"]
    raws = [f"<LANG_EN> <transcribe> {final} </transcribe>" for final in finals]
    names = ["error_rate", "errors", "accuracy"]
    table = reward_table(raws, ["We make tea."] * 4, ["word"] * 4, names, 0.5, template="tagged")  # type: ignore[arg-type]
    assert table["errors"] == [0, -1, -3, -9]
    assert table["error_rate"] == pytest.approx([1, 2 / 3, 0, -2])
    assert table["accuracy"] == pytest.approx([1, 2 / 3, 0, 0])
    assert reward_table(["a b"], [""], ["word"], ["error_rate"], 0.5, template="plain") == {"error_rate": [-1]}
