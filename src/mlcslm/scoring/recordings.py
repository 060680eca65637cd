"""Recordings of Track 2: which group each is of, what one side lacks, and scoring many at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from mlcslm.config.languages import Group
from mlcslm.errors import FaultyInput, shortened
from mlcslm.runtime.progress import watched

SHOWN_RECORDINGS = 10

Task = TypeVar("Task")
Result = TypeVar("Result")

_work: tuple[Callable[[Any], Any], Sequence[Any]]


def groups_of_recordings(
    recordings: Iterable[str], languages_table: Mapping[str, Group], source: str
) -> dict[str, Group]:
    """Group of each recording, by its name `<Language or Accent>_<session>`: the longest prefix that fits.

    Raises FaultyInput listing the first ten names that begin with none. source: where they are from, for the message.
    """
    by_prefix = sorted(languages_table.values(), key=lambda group: -len(group.recording_prefix))
    groups: dict[str, Group] = {}
    unknown = []
    for recording in recordings:
        fitting = (group for group in by_prefix if recording.startswith(f"{group.recording_prefix}_"))
        if (group := next(fitting, None)) is None:
            unknown.append(recording)
        else:
            groups[recording] = group
    if unknown:
        prefixes = ", ".join(group.recording_prefix for group in languages_table.values())
        raise FaultyInput(
            f"{source}: {len(unknown)} recordings begin with no group of the languages table ({prefixes}). Expected "
            "`<Language or Accent>_<session>`:",
            shortened(unknown, SHOWN_RECORDINGS),
        )
    return groups


def check_references(references: Collection[str], hypotheses: Collection[str], sources: tuple[str, str]) -> None:
    """Raise FaultyInput naming both files if a recording of the hypothesis has no reference, or there is no reference.

    sources: where references and hypotheses are from.
    """
    if not references:
        raise FaultyInput(f"{sources[0]}: found no recordings.", ["Expected a line or more for each."])
    if unknown := [recording for recording in hypotheses if recording not in references]:
        raise FaultyInput(
            f"{sources[1]}: {len(unknown)} of {len(hypotheses)} recordings have no reference in {sources[0]}. Expected "
            f"the {len(references)} recordings of the reference only; add references, or remove:",
            shortened(unknown, SHOWN_RECORDINGS),
        )


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_recordings(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, jobs: int, sizes: Sequence[int]
) -> list[Result]:
    """`function` of every task, in the order of `tasks`, in up to `jobs` processes, the largest first.

    function has to be a module's own; sizes: what each task's time grows with. One process is this one.
    """
    jobs = min(jobs, len(tasks))
    if jobs <= 1:
        return [function(task) for task in watched(tasks, "scoring", "recording")]
    order = sorted(range(len(tasks)), key=lambda place: -sizes[place])
    # Given to the initializer, tasks reach forked processes without being pickled, which costs as much as scoring.
    with ProcessPoolExecutor(jobs, initializer=_begin, initargs=(function, tasks)) as pool:
        found = watched(pool.map(_run, order), "scoring", "recording", total=len(order))
        results = dict(zip(order, found, strict=True))
    return [results[place] for place in range(len(tasks))]


def _begin(function: Callable[[Any], Any], tasks: Sequence[Any]) -> None:
    global _work
    _work = function, tasks


def _run(place: int) -> Any:
    function, tasks = _work
    return function(tasks[place])
