from __future__ import annotations

import os

import pytest

from mlcslm.config.languages import Group
from mlcslm.errors import FaultyInput
from mlcslm.scoring.recordings import available_cores, groups_of_recordings, map_recordings

SHEET = {name: Group(name, folder, "en", "", "word", "") for name, folder in (("A", "A"), ("A-B", "A/B"), ("C", "B_1"))}


def test_a_recording_s_group_is_the_longest_prefix():
    found = groups_of_recordings(["B_001_002", "B_1_002", "A_1"], SHEET, "x.stm")
    assert {recording: group.group for recording, group in found.items()} == {
        "B_001_002": "A-B",
        "B_1_002": "C",
        "A_1": "A",
    }
    with pytest.raises(FaultyInput) as caught:
        groups_of_recordings(["A_1", "A1", *(f"D_{number}" for number in range(12))], SHEET, "x.stm")
    assert "x.stm: 13 recordings begin with no group" in str(caught.value)
    assert caught.value.faults[0] == "A1" and caught.value.faults[-1] == "… and 3 more"


def describe(task: int) -> tuple[int, int]:
    if task < 0:
        raise ValueError("negative")
    return task * task, os.getpid()


@pytest.mark.parametrize("jobs", [1, 2, 8])
def test_results_come_in_the_order_of_the_tasks(jobs: int):
    results = map_recordings(describe, [3, 1, 2], jobs=jobs, sizes=[1, 3, 2])
    assert [square for square, _ in results] == [9, 1, 4]
    assert ({process for _, process in results} == {os.getpid()}) == (jobs == 1)
    assert map_recordings(describe, [], jobs=jobs, sizes=[]) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_is_not_swallowed(jobs: int):
    with pytest.raises(ValueError, match="negative"):
        map_recordings(describe, [1, -1], jobs=jobs, sizes=[1, 1])
    assert available_cores() >= 1
