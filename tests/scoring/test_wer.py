from __future__ import annotations

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.config.languages import Group
from mlcslm.errors import FaultyInput
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.wer import align_counts, score_texts
from mlcslm.text.protocols import get_protocol

ENGLISH = Group("English-American", "English/American", "en", "<LANG_EN>", "word", "")
THAI = Group("Thai", "Thai", "th", "<LANG_TH>", "character", "")
MLCSLM = get_protocol("mlcslm-2025")
tokens = st.lists(st.sampled_from("abcd"), max_size=12)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("a b c", "a b c", (0, 3, 0, 0, 0)),
        ("a b c", "a c", (1, 3, 0, 1, 0)),
        ("a b", "a x b y", (2, 2, 2, 0, 0)),
        ("a b c", "x b c d", (2, 3, 1, 0, 1)),
        ("a b", "", (2, 2, 0, 2, 0)),
        ("", "a b", (2, 0, 2, 0, 0)),
        ("", "", (0, 0, 0, 0, 0)),
    ],
)
def test_hand_worked_alignments(reference: str, hypothesis: str, expected: tuple[int, ...]):
    assert align_counts(reference.split(), hypothesis.split()) == ErrorCounts(*expected)


@given(tokens.filter(bool), tokens)
def test_errors_are_another_library_s_and_the_split_fits_the_lengths(reference: list[str], hypothesis: list[str]):
    counts = align_counts(reference, hypothesis)
    other = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    assert counts.errors == other.insertions + other.deletions + other.substitutions
    assert counts.length == len(reference)
    assert counts.insertions - counts.deletions == len(hypothesis) - len(reference)


def test_references_keep_their_order_and_missing_hypotheses_are_deletions():
    references = {"b": "One two", "a": "ไม่", "c": "…"}
    counts = score_texts(references, {"a": "ไม"}, MLCSLM, {"a": THAI, "b": ENGLISH, "c": ENGLISH})
    assert list(counts.items()) == [
        ("b", ErrorCounts(2, 2, 0, 2, 0)),
        ("a", ErrorCounts(1, 3, 0, 1, 0)),
        ("c", ErrorCounts(1, 1, 0, 1, 0)),
    ]


def test_hypotheses_without_reference_are_named_with_the_nearest_id():
    references = {f"English-American-0517_007-O1-{start:06d}-{start + 90:06d}": "x" for start in range(0, 100_000, 100)}
    hypotheses = {
        "English-American-0517_007-O1-004200-004291": "x",
        "Englsh-American-0517_007-O1-000100-000190": "x",
        **{f"zz{number}": "x" for number in range(10)},
    }
    with pytest.raises(FaultyInput) as caught:
        score_texts(references, hypotheses, MLCSLM, dict.fromkeys(references, ENGLISH), source="hyp.txt")
    assert str(caught.value).startswith("hyp.txt: 12 of 12 hypotheses have no reference.")
    assert caught.value.faults[:3] == (
        "English-American-0517_007-O1-004200-004291: not among the references; "
        "nearest: English-American-0517_007-O1-004200-004290",
        "Englsh-American-0517_007-O1-000100-000190: not among the references; "
        "nearest: English-American-0517_007-O1-000100-000190",
        "zz0: not among the references",
    )
    assert caught.value.faults[10:] == ("… and 2 more",)
