"""Planned batches: a pure function of (seed, pass, step), every utterance at most once per pass, similar in length."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcslm.training.batches import TEXT_S, BatchPlan, batches_of_pass, deal, even_cuts, language_counts

LENGTHS = np.random.default_rng(0).uniform(0.3, 20, 997).tolist()


@given(
    lengths=st.lists(st.floats(0.1, 30), min_size=1, max_size=300),
    batch_size=st.integers(1, 20),
    seed=st.integers(0, 2**31),
    number=st.integers(0, 1000),
)
def test_a_pass_takes_each_utterance_once_except_an_incomplete_batch(
    lengths: list[float], batch_size: int, seed: int, number: int
) -> None:
    batches = batches_of_pass(lengths, batch_size, seed, number)
    taken = list(itertools.chain.from_iterable(batches))
    assert {len(batch) for batch in batches} <= {batch_size}
    assert len(taken) == len(set(taken)) == len(lengths) // batch_size * batch_size
    assert set(taken) <= set(range(len(lengths)))
    assert batches == batches_of_pass(lengths, batch_size, seed, number)


def test_passes_and_seeds_differ() -> None:
    first = batches_of_pass(LENGTHS, 16, seed=1, number=0)
    assert first != batches_of_pass(LENGTHS, 16, seed=1, number=1)
    assert first != batches_of_pass(LENGTHS, 16, seed=2, number=0)


def test_another_process_plans_the_same() -> None:
    program = (
        "from mlcslm.training.batches import BatchPlan; print(list(BatchPlan([3, 1, 4, 1, 5, 9, 2, 6], 3, 7, seed=5)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(list(BatchPlan([3, 1, 4, 1, 5, 9, 2, 6], 3, 7, seed=5)))


def test_a_batch_is_of_similar_length_but_passes_are_not_sorted() -> None:
    batches = [[LENGTHS[i] for i in batch] for batch in batches_of_pass(LENGTHS, 16, seed=0, number=0)]
    padded = sum(len(batch) * max(batch) for batch in batches)
    unsorted = sum(16 * max(LENGTHS[i : i + 16]) for i in range(0, len(LENGTHS) - 15, 16))
    spoken = sum(map(sum, batches))
    assert padded / spoken < 1.1 < 1.5 < unsorted / spoken
    means = [float(np.mean(batch)) for batch in batches]
    assert means != sorted(means)
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.4


def test_no_utterance_is_dropped_from_every_pass() -> None:
    """17 utterances in batches of 8: each pass drops one, in time every one, the longest no more often than others."""
    lengths = [float(length) for length in range(1, 18)]
    left_out = [set(range(17)) - {i for batch in batches_of_pass(lengths, 8, 3, n) for i in batch} for n in range(400)]
    counts = np.bincount([index for indices in left_out for index in indices], minlength=17)
    assert counts.sum() == 400
    assert counts.min() > 5
    assert counts.max() < 60


@given(
    utterances=st.integers(5, 60), batch_size=st.integers(1, 5), count=st.integers(1, 60), skipped=st.integers(0, 60)
)
def test_a_resumed_plan_is_the_rest_of_the_plan(utterances: int, batch_size: int, count: int, skipped: int) -> None:
    plan = BatchPlan([float(i % 7) for i in range(utterances)], batch_size, count, seed=9)
    whole = list(plan)
    assert len(whole) == len(plan) == count
    assert list(itertools.islice(iter(plan), skipped, None)) == whole[skipped:]
    # A longer stage starts with the same batches.
    assert list(BatchPlan(plan.lengths, batch_size, count + 3, seed=9))[:count] == whole


@given(utterances=st.integers(5, 40), batch_size=st.integers(1, 5), count=st.integers(1, 40), before=st.integers(0, 40))
def test_a_stage_goes_on_where_its_parent_ended(utterances: int, batch_size: int, count: int, before: int) -> None:
    """Two stages draw what one as long as both would: no part of the training set is left out."""
    lengths = [float(i % 7) for i in range(utterances)]
    both = list(BatchPlan(lengths, batch_size, before + count, seed=9))
    assert list(BatchPlan(lengths, batch_size, count, seed=9, after=before * batch_size)) == both[before:]


def test_keys_say_which_pass_they_belong_to() -> None:
    lengths = [1.0] * 10
    keys = [key for batch in BatchPlan(lengths, 2, 12, seed=4) for key in batch]
    assert [number for number, _ in keys] == [0] * 10 + [1] * 10 + [2] * 4
    for number in (0, 1):
        assert sorted(index for n, index in keys if n == number) == list(range(10))
    expected = list(itertools.chain.from_iterable(batches_of_pass(lengths, 2, 4, 1)))
    assert [index for n, index in keys if n == 1] == expected


def test_too_few_utterances_for_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="3 utterances do not fill a batch of 4"):
        BatchPlan([1.0, 2.0, 3.0], 4, 1, seed=0)


def cost(lengths: list[float]) -> float:
    return len(lengths) * (max(lengths) + TEXT_S)


@given(lengths=st.lists(st.floats(0.1, 30), min_size=1, max_size=40), count=st.integers(1, 8))
def test_cuts_lose_nothing_and_keep_similar_lengths_together(lengths: list[float], count: int) -> None:
    count = min(count, len(lengths))
    keys = [(3, index) for index in range(len(lengths))]
    cuts = even_cuts(keys, lengths, count)
    assert len(cuts) == count
    assert all(cuts)
    assert sorted(key for cut in cuts for key in cut) == keys
    in_order = [lengths[index] for cut in cuts for _, index in cut]
    assert in_order == sorted(lengths)
    assert even_cuts(keys[::-1], lengths[::-1], count) == cuts


@given(lengths=st.lists(st.integers(1, 9), min_size=3, max_size=9), count=st.integers(2, 3))
def test_no_other_cut_of_the_sorted_lengths_costs_less(lengths: list[int], count: int) -> None:
    """Against every way to cut them: the most expensive group is as cheap as possible."""
    keys = [(0, index) for index in range(len(lengths))]
    found = max(cost([lengths[index] for _, index in cut]) for cut in even_cuts(keys, lengths, count))
    ordered = sorted(lengths)
    best = min(
        max(cost(ordered[start:end]) for start, end in itertools.pairwise([0, *places, len(ordered)]))
        for places in itertools.combinations(range(1, len(ordered)), count - 1)
    )
    assert found == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_a_step_has_the_same_utterances_however_it_is_cut_and_processes_are_equally_busy(processes: int) -> None:
    lengths = np.random.default_rng(1).uniform(0.3, 9, 4000).tolist()
    drawn, cut = BatchPlan(lengths, 8, 16 * 31, seed=5), list(BatchPlan(lengths, 8, 16 * 31, seed=5, accumulation=16))
    whole = list(drawn)
    steps = [whole[start : start + 16] for start in range(0, len(whole), 16)]
    alone = slowest = 0.0
    assert len(cut) == 16 * len(steps) == len(drawn)
    for number, step in enumerate(steps):
        batches = cut[16 * number : 16 * (number + 1)]
        assert sorted(itertools.chain(*batches)) == sorted(itertools.chain(*step))
        costs = [cost([lengths[index] for _, index in batch]) for batch in batches]
        alone += sum(costs)
        slowest += max(sum(costs[rank::processes]) for rank in range(processes))
    assert alone / slowest > 0.93 * processes


def test_an_accumulation_of_one_is_the_plan_as_drawn() -> None:
    assert list(BatchPlan(LENGTHS, 16, 20, seed=3, accumulation=1)) == list(BatchPlan(LENGTHS, 16, 20, seed=3))


@given(lengths=st.lists(st.floats(0.1, 30), min_size=8, max_size=8), processes=st.sampled_from([1, 2, 4, 8]))
def test_processes_are_dealt_equally_many(lengths: list[float], processes: int) -> None:
    keys = [(0, index) for index in range(8)]
    shares = deal(keys, lengths, processes)
    assert sorted(key for share in shares for key in share) == keys
    assert {len(share) for share in shares} == {8 // processes}
    totals = [sum(lengths[index] for _, index in share) for share in shares]
    assert max(totals) - min(totals) <= max(lengths)
    with pytest.raises(ValueError, match="cannot be shared evenly by 3"):
        deal(keys, lengths, 3)


@given(
    utterances=st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 400), min_size=1),
    temperature=st.floats(0.2, 50),
)
def test_languages_share_a_pass_in_proportion_to_a_power_of_their_size(
    utterances: dict[str, int], temperature: float
) -> None:
    counts, total = language_counts(utterances, temperature), sum(utterances.values())
    assert sum(counts.values()) == total
    weights = {name: count ** (1 / temperature) for name, count in utterances.items()}
    for name, weight in weights.items():
        assert counts[name] == pytest.approx(total * weight / sum(weights.values()), abs=1)
    assert language_counts(utterances, 1.0) == utterances


@pytest.mark.parametrize(("temperature", "rare"), [(1.0, 100), (2.0, 250), (1e9, 500)])
def test_a_rare_language_is_drawn_as_often_as_its_temperature_says(temperature: float, rare: int) -> None:
    languages = ["en"] * 900 + ["th"] * 100
    lengths = [1 + index % 13 for index in range(1000)]
    plan = BatchPlan(lengths, 10, 500, seed=3, languages=languages, temperature=temperature)
    keys = [key for batch in plan for key in batch]
    assert keys == [key for batch in plan for key in batch]
    assert len(set(keys)) == len(keys), "each copy is augmented on its own"
    passes = [keys[start : start + 1000] for start in range(0, 5000, 1000)]
    for drawn in passes:
        taken = np.bincount([index for _, index in drawn], minlength=1000)
        assert taken[900:].sum() == rare
        for share, size in ((taken[:900], 900), (taken[900:], 100)):
            assert share.max() - share.min() <= 1, "none twice before all are drawn once"
            assert share.sum() // size == share.min()
    assert passes[0] != passes[1]
    similar = [max(lengths[i] for _, i in batch) - min(lengths[i] for _, i in batch) for batch in plan]
    assert np.mean(similar) < 1


def test_a_temperature_of_one_changes_no_batch() -> None:
    languages = ["a", "b"] * 500
    plain = list(BatchPlan(LENGTHS, 16, 70, seed=3))
    assert list(BatchPlan(LENGTHS, 16, 70, seed=3, languages=languages[:997], temperature=1.0)) == plain
