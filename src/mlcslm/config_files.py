"""Configuration files as Snakemake takes them: several, each changing what those before it say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcslm.config import Config, parse_config, read_values


def read_config_files(paths: Sequence[Path]) -> Config:
    """The configuration of `paths`, merged section by section in their order as `--configfile` does.

    Raises UserError for a file that is missing or is no YAML, FaultyInput for keys at fault.
    """
    values: dict[str, Any] = {}
    for path in paths:
        values = merged(values, read_values(path))
    return parse_config(values, ", ".join(map(str, paths)))


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes`: sections are merged key by key, everything else is replaced.

    >>> merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": 3}, "d": [2]})
    {'a': {'b': 1, 'c': 3}, 'd': [2]}
    """
    both = dict(values)
    for key, value in changes.items():
        known = both.get(key)
        both[key] = merged(known, value) if isinstance(value, Mapping) and isinstance(known, Mapping) else value
    return both
