"""Whatever is torn, lost or full is named; following the message's advice ends in the same tables."""

from __future__ import annotations

import re

import file_faults
import machine_faults
import pytest
from rounds import Outcome, go_through
from toy_runs import Toy

pytestmark = pytest.mark.slow

ROUNDS = {"files": file_faults.ROUNDS, "machine": machine_faults.ROUNDS}
FAULTS = {(kind, fault.name): fault for kind, rounds in ROUNDS.items() for one in rounds for fault in one.faults}


@pytest.fixture(scope="module")
def files(undisturbed: Toy, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return go_through(file_faults.ROUNDS, undisturbed.copied(tmp_path_factory.mktemp("files")), undisturbed)


@pytest.fixture(scope="module")
def machine(undisturbed: Toy, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return go_through(machine_faults.ROUNDS, undisturbed.copied(tmp_path_factory.mktemp("machine")), undisturbed)


@pytest.fixture
def outcome(kind: str, request: pytest.FixtureRequest) -> Outcome:
    """What came of all rounds of a kind."""
    return request.getfixturevalue(kind)


@pytest.mark.parametrize(("kind", "name"), FAULTS)
def test_a_fault_is_named_with_what_to_do(outcome: Outcome, kind: str, name: str) -> None:
    log = outcome.logs[name]
    assert re.search(rf"(?:^|\r)mlcslm: (?s:.*){FAULTS[kind, name].message}", log, re.MULTILINE), log


@pytest.mark.parametrize("kind", ROUNDS)
def test_no_run_ends_well_or_in_a_traceback(outcome: Outcome) -> None:
    assert all(outcome.statuses)
    assert not [output for output in outcome.outputs if "Traceback" in output]


@pytest.mark.parametrize("kind", ROUNDS)
def test_nothing_finished_is_touched(outcome: Outcome) -> None:
    assert not outcome.lost


@pytest.mark.parametrize("kind", ROUNDS)
def test_what_is_advised_ends_in_the_same_tables(outcome: Outcome, undisturbed: Toy) -> None:
    assert outcome.last == 0, outcome.outputs[-1]
    assert outcome.made == undisturbed.made()


def test_there_are_enough_faults() -> None:
    assert len(FAULTS) == len({name for _, name in FAULTS}) >= 20
