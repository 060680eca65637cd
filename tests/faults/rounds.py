"""Faults by rounds: break, run, look at what is said, repair; those of a round are met by jobs that are independent."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forked import Setup
from toy_runs import Toy


@dataclass(frozen=True)
class Fault:
    """message: a pattern of what the log of `job`, `<rule>/…`, has to say.

    damage: done before the run; repair: what the message advises, given the broken and the undisturbed run; in_job:
    called in jobs of the rule, in their own process.
    """

    name: str
    job: str
    message: str
    damage: Callable[[Toy], Any] = lambda toy: None
    repair: Callable[[Toy, Toy], Any] = lambda toy, undisturbed: None
    in_job: Setup | None = None


@dataclass(frozen=True)
class Round:
    """Faults at once, after `forget` (systems) and `remove` (files) have made the jobs necessary that meet them.

    config: sections of the configuration that are others in this round.
    """

    faults: Sequence[Fault]
    forget: Sequence[str] = ()
    remove: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """What came of all rounds: each fault's log, each run's exit status and output, and finished files that changed."""

    logs: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    last: int = -1
    made: dict[str, Any] = field(default_factory=dict)


def go_through(rounds: Sequence[Round], toy: Toy, undisturbed: Toy) -> Outcome:
    """All rounds one after the other, and a last run, which has to end well."""
    found = Outcome()
    for one in rounds:
        toy.forget(*one.forget)
        toy.remove(*one.remove)
        for fault in one.faults:
            fault.damage(toy)
        before = toy.finished()
        in_jobs = {f.job.split("/")[0]: f.in_job for f in one.faults if f.in_job}
        found.statuses.append(toy.changed(**one.config).run("--keep-going", in_jobs=in_jobs))
        found.outputs.append(toy.output)
        after = toy.finished()
        found.lost += [name for name in before if after.get(name) != before[name]]
        found.logs |= {fault.name: toy.log(fault.job) for fault in one.faults}
        for fault in one.faults:
            fault.repair(toy, undisturbed)
    found.last = toy.run()
    found.outputs.append(toy.output)
    found.made = toy.made()
    return found


def decoding(checkpoint: str, split: str = "dev") -> str:
    """The log of a decoding."""
    return f"decode/{checkpoint}/greedy/{split}/all"


def file_fault(
    name: str, damaged: str, damage: Callable[[Path], Any], job: str, message: str, delete: str = ""
) -> Fault:
    """A damaged file or folder; what is advised is to delete `delete`, or else to put a copy in place."""

    def repair(toy: Toy, undisturbed: Toy) -> None:
        if delete:
            toy.remove(delete)
        else:
            put_back(damaged, toy, undisturbed)

    return Fault(name, job, message, lambda toy: damage(toy.root / damaged), repair)


def put_back(name: str, toy: Toy, undisturbed: Toy) -> None:
    """Copy a file or folder of the undisturbed run, times of change included."""
    place, copy = toy.root / name, undisturbed.root / name
    if copy.is_dir():
        shutil.copytree(copy, place, dirs_exist_ok=True)
    else:
        shutil.copy2(copy, place)
