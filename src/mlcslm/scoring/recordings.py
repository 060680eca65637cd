"""Recordings of Track 2: the group of each, what one side lacks, and scoring them in parallel."""

from __future__ import annotations

import difflib
import logging
import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from mlcslm.config.languages import Group
from mlcslm.errors import FaultyInput, UserError, shortened
from mlcslm.runtime.progress import watched

MAX_LISTED_RECORDINGS = 10
GROUPLESS = Group("", "", "", "", "word", "")
"""Stands in for recordings of no group: scored in words."""

Task = TypeVar("Task")
Result = TypeVar("Result")

_work: tuple[Callable[[Any], Any], Sequence[Any]]


def groups_of_recordings(
    recordings: Iterable[str],
    languages_table: Mapping[str, Group],
    source: str,
    group: str | None = None,
    *,
    without: str = "scored without groups, in words",
) -> dict[str, Group]:
    """Group of each recording: `group` if given, otherwise by its name `<Language or Accent>_<session>`.

    If no name begins with a group, all are GROUPLESS, with a warning. Raises UserError for a `group` that the languages
    table lacks, and FaultyInput listing the first ten names that begin with no group while others do. source: of the
    recordings, for messages; without: what the warning says about them.
    """
    by_prefix = sorted(languages_table.values(), key=lambda group: -len(group.recording_prefix))

    def find(recording: str) -> Group | None:
        return next((group for group in by_prefix if recording.startswith(f"{group.recording_prefix}_")), None)

    expected = "`<Language or Accent>_<session>`"
    return assign_groups(
        recordings, find, languages_table, source, group, kind="recordings", expected=expected, without=without
    )


def assign_groups(
    names: Iterable[str],
    find: Callable[[str], Group | None],
    languages_table: Mapping[str, Group],
    source: str,
    group: str | None,
    *,
    kind: str,
    expected: str,
    without: str = "scored without groups, in words",
) -> dict[str, Group]:
    """As `groups_of_recordings`, for names of any kind. find: the group of a name, None if it has none."""
    names = list(names)
    if group is not None:
        return dict.fromkeys(names, named_group(group, languages_table))
    found = {name: find(name) for name in names}
    unknown = [name for name, its_group in found.items() if its_group is None]
    if unknown and len(unknown) == len(names):
        logging.getLogger(__name__).warning(
            "%s: no name begins with a group of the languages table (first %s): %s; set their group with --group",
            source,
            unknown[0],
            without,
        )
    elif unknown:
        prefixes = ", ".join(
            group.recording_prefix if kind == "recordings" else name for name, group in languages_table.items()
        )
        raise FaultyInput(
            f"{source}: {len(unknown)} {kind} begin with no group of the languages table ({prefixes}). Expected "
            f"{expected}, or one --group for all of them:",
            shortened(unknown, MAX_LISTED_RECORDINGS),
        )
    return {name: its_group or GROUPLESS for name, its_group in found.items()}


def named_group(name: str, languages_table: Mapping[str, Group]) -> Group:
    """The group of that name, or of that accent, in the languages table. Raises UserError if there is none."""
    for group in languages_table.values():
        if name.casefold() in (group.group.casefold(), group.recording_prefix.casefold()):
            return group
    near = difflib.get_close_matches(name, languages_table, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(
        f"--group: found {name!r}, expected one of the languages table: {', '.join(languages_table)}.{hint}"
    )


def check_references(references: Collection[str], hypotheses: Collection[str], sources: tuple[str, str]) -> None:
    """Raise FaultyInput naming both files if a hypothesis has no reference, or if there are no references.

    sources: of references and hypotheses.
    """
    if not references:
        raise FaultyInput(f"{sources[0]}: found no recordings.", ["Expected at least one line per recording."])
    if unknown := [recording for recording in hypotheses if recording not in references]:
        raise FaultyInput(
            f"{sources[1]}: {len(unknown)} of {len(hypotheses)} recordings have no reference in {sources[0]}. Expected "
            f"only the {len(references)} recordings of the reference; add references, or remove:",
            [
                name + difference_in_normalisation(name, references)
                for name in shortened(unknown, MAX_LISTED_RECORDINGS)
            ],
        )


def difference_in_normalisation(name: str, known: Collection[str]) -> str:
    """A remark on a name that matches one of `known` except for Unicode normalisation; otherwise empty.

    >>> difference_in_normalisation("e\\u0301", ["\\u00e9"])
    ' (looks like a known name, but this is NFD and that is NFC: Unicode normalisation differs)'
    """
    composed = unicodedata.normalize("NFC", name)
    if name in known or not any(unicodedata.normalize("NFC", other) == composed for other in known):
        return ""
    forms = ("NFD", "NFC") if name == composed else ("NFC", "NFD")
    return f" (looks like a known name, but this is {forms[1]} and that is {forms[0]}: Unicode normalisation differs)"


def available_cores() -> int:
    """Processor cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_recordings(
    function: Callable[[Task], Result], tasks: Sequence[Task], *, jobs: int, sizes: Sequence[int]
) -> list[Result]:
    """Apply `function` to every task in up to `jobs` processes, largest first; results in the order of `tasks`.

    function: at module level; sizes: the time of each task grows with it. A single job runs in this process.
    """
    jobs = min(jobs, len(tasks))
    if jobs <= 1:
        return [function(task) for task in watched(tasks, "scoring", "recording")]
    order = sorted(range(len(tasks)), key=lambda index: -sizes[index])
    # Passed to the initializer, tasks reach forked processes without pickling, which costs as much as scoring.
    with ProcessPoolExecutor(jobs, initializer=_begin, initargs=(function, tasks)) as pool:
        found = watched(pool.map(_run, order), "scoring", "recording", total=len(order))
        results = dict(zip(order, found, strict=True))
    return [results[index] for index in range(len(tasks))]


def _begin(function: Callable[[Any], Any], tasks: Sequence[Any]) -> None:
    global _work
    _work = function, tasks


def _run(index: int) -> Any:
    function, tasks = _work
    return function(tasks[index])
