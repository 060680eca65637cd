from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.scoring.error_counts import ErrorCounts, RunOns, count_run_ons, pool

counts = st.builds(
    lambda length, ins, dele, sub: ErrorCounts(ins + dele + sub, length, ins, dele, sub),
    *[st.integers(0, 1000)] * 4,
)


def test_pooling_adds_counts_and_weighs_utterances_by_their_length():
    pooled = pool([ErrorCounts(3, 4, 1, 1, 1), ErrorCounts(0, 16, 0, 0, 0), ErrorCounts(2, 0, 2, 0, 0)])
    assert pooled == ErrorCounts(errors=5, length=20, insertions=3, deletions=1, substitutions=1)
    # The mean of the two rates that exist would be 37.5 %.
    assert pooled.error_rate == 0.25


def test_a_rate_needs_a_reference_token():
    assert ErrorCounts.zero().error_rate is None
    assert ErrorCounts(2, 0, 2, 0, 0).error_rate is None
    assert ErrorCounts(0, 3, 0, 0, 0).error_rate == 0.0
    assert ErrorCounts(6, 3, 6, 0, 0).error_rate == 2.0


@given(counts, counts, counts)
def test_addition_has_a_zero_and_any_order(a: ErrorCounts, b: ErrorCounts, c: ErrorCounts):
    assert a + ErrorCounts.zero() == a
    assert a + b == b + a
    assert (a + b) + c == a + (b + c) == pool([c, a, b])


@pytest.mark.parametrize("wrong", [(2, 5, 1, 0, 0), (-1, 5, -1, 0, 0), (0, -1, 0, 0, 0)])
def test_impossible_counts_are_refused(wrong: tuple[int, ...]):
    with pytest.raises(ValueError, match="ErrorCounts"):
        ErrorCounts(*wrong)


def test_adding_a_rate_is_a_mistake():
    with pytest.raises(TypeError):
        ErrorCounts.zero() + 0.5


def test_run_ons_are_counted_from_fifty_insertions_on():
    assert count_run_ons([49, 50, 0, 101]) == RunOns(utterances=2, insertions=151, insertions_of_all=200)
    assert count_run_ons([49, 50, 0, 101]).share == 0.755
    assert count_run_ons([]).share == 0.0


def test_published_baseline_is_pooled_to_its_published_rate(published_sums):
    groups = published_sums(track=1)
    pooled = pool(
        ErrorCounts(**{field: group[field] for field in ErrorCounts.__dataclass_fields__}) for group in groups
    )
    assert (pooled.errors, pooled.length) == (95_517, 444_467)
    assert f"{100 * pooled.error_rate:.2f}" == "21.49"
    run_ons = RunOns(
        sum(group["run_ons"] for group in groups),
        sum(group["run_on_insertions"] for group in groups),
        pooled.insertions,
    )
    assert (run_ons.utterances, sum(group["scored"] for group in groups)) == (63, 29_952)
    assert f"{100 * run_ons.share:.0f}" == "39"
    assert f"{100 * run_ons.insertions / pooled.length:.1f}" == "2.2"
