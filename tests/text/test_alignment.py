from __future__ import annotations

import itertools

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.scoring.wer import align_counts
from mlcslm.text.alignment import Edit, _spread, align, count_matches

SENTENCES = st.lists(st.sampled_from("abcd"), max_size=12)


def test_errors_come_in_the_order_of_the_utterance() -> None:
    # heard: well | they |   -  | mate tea |  um
    # meant:   -  | they | have | made tea |  -
    edits = align(["they", "have", "made", "tea"], ["well", "they", "mate", "tea", "um"])
    assert edits == [
        Edit("insertion", "well", ""),
        Edit("deletion", "", "have"),
        Edit("substitution", "mate", "made"),
        Edit("insertion", "um", ""),
    ]


def test_of_nothing_and_to_nothing() -> None:
    assert align([], []) == []
    assert align(["a", "b"], []) == [Edit("deletion", "", "a"), Edit("deletion", "", "b")]
    assert align([], ["a"]) == [Edit("insertion", "a", "")]


def test_empty_units_are_refused() -> None:
    with pytest.raises(ValueError, match="empty unit"):
        align(["a", ""], ["a"])
    with pytest.raises(ValueError, match="empty unit"):
        align(["a"], [""])


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("we were there", "weir there", "weir/we -/were"),  # 2 of 4 letters alike, as with were: the first
        ("a big green house", "a grin house", "-/big grin/green"),
        ("house", "green hose of", "green/- hose/house of/-"),
        ("red green blue", "blew", "-/red -/green blew/blue"),
        ("one", "tune phone own", "tune/- phone/one own/-"),
        ("xx yy", "pp qq rr", "pp/xx qq/yy rr/-"),  # nothing alike: the first for the first, as kaldialign
    ],
)
def test_what_looks_alike_is_taken_for_each_other(reference: str, hypothesis: str, expected: str) -> None:
    edits = align(reference.split(), hypothesis.split())
    assert " ".join(f"{edit.heard or '-'}/{edit.meant or '-'}" for edit in edits) == expected


@given(st.lists(st.text("ab", min_size=1, max_size=3), max_size=5), st.lists(st.text("xa", min_size=1), max_size=5))
def test_no_other_choice_of_partners_is_more_alike(many: list[str], few: list[str]) -> None:
    many, few = sorted((many, few), key=len, reverse=True)
    places = itertools.combinations(range(len(many)), len(few))
    best = max(sum(likeness(few[i], many[j]) for i, j in enumerate(choice)) for choice in places)
    found = sum(likeness(unit, other) for unit, other in zip(_spread(few, many), many, strict=True) if unit)
    assert found == pytest.approx(best)


def likeness(one: str, other: str) -> float:
    return 1 - jiwer.cer(one, other) * len(one) / max(len(one), len(other))


@given(SENTENCES, SENTENCES)
def test_errors_are_those_that_are_scored(reference: list[str], hypothesis: list[str]) -> None:
    edits = align(reference, hypothesis)
    counts = align_counts(reference, hypothesis)
    kinds = [edit.kind for edit in edits]
    assert (kinds.count("insertion"), kinds.count("deletion"), kinds.count("substitution")) == (
        counts.insertions,
        counts.deletions,
        counts.substitutions,
    )


@given(SENTENCES.filter(len), SENTENCES)
def test_there_are_no_more_errors_than_another_aligner_finds(reference: list[str], hypothesis: list[str]) -> None:
    found = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    assert len(align(reference, hypothesis)) == found.insertions + found.deletions + found.substitutions


@given(SENTENCES, SENTENCES)
def test_undoing_the_errors_gives_the_reference(reference: list[str], hypothesis: list[str]) -> None:
    """The multisets of units balance: what was heard, less what is wrong, plus what is meant."""
    edits = align(reference, hypothesis)
    heard, meant = [edit.heard for edit in edits if edit.heard], [edit.meant for edit in edits if edit.meant]
    assert sorted(hypothesis + meant) == sorted(reference + heard)
    assert all(edit.heard != edit.meant for edit in edits)


def test_matches_are_counted_as_often_as_they_are_true() -> None:
    wrong, missing = Edit("substitution", "a", "b"), Edit("deletion", "", "c")
    assert count_matches([], [wrong]) == count_matches([wrong], []) == 0
    assert count_matches([wrong, wrong, missing], [missing, wrong]) == 2
    assert count_matches([wrong, wrong], [wrong, wrong, missing]) == 2
    # The same units, another kind or the other way round, are other errors.
    assert count_matches([Edit("insertion", "c", ""), Edit("substitution", "b", "a")], [missing, wrong]) == 0
