"""Configuration files as Snakemake takes them: several, each changing what those before it say."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlcslm.config.schema import Config
from mlcslm.config.stages import STAGE_KINDS
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.places import expand_tildes, is_stream
from mlcslm.io.reading import read_input
from mlcslm.runtime.secrets import refuse_secrets


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


def parse_config(values: Mapping[str, Any], source: str | os.PathLike[str] = "configuration") -> Config:
    """Check `values`; raises FaultyInput that lists each fault with its key's path, what was found and expected."""
    refuse_secrets(values, source)
    try:
        return Config.model_validate(expand_tildes(dict(values)))
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            # Below a stage, pydantic names the kind first: no part of the path in a file.
            path = [part for at, part in enumerate(fault["loc"]) if at != 2 or fault["loc"][0] != "stages"]
            key = ".".join(str(part) for part in path) or "(whole file)"
            if fault["type"] == "extra_forbidden":
                faults.append(f"{key}: unknown key; {_known_keys(fault['loc'])}")
            else:
                found = "" if fault["type"] in ("missing", "value_error") else f"; found {fault['input']!r}"
                faults.append(f"{key}: {fault['msg'].removeprefix('Value error, ')}{found}")
        raise FaultyInput(f"{source}: {len(faults)} fault(s); config/README.md describes every key", faults) from None


def read_config(path: str | os.PathLike[str]) -> Config:
    """Read and check a YAML configuration."""
    return parse_config(read_values(path), path)


def read_values(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Sections of a YAML configuration, unchecked. Raises UserError for a file that is missing, or is none."""
    import yaml

    path = Path(path)
    if not path.is_file() and not is_stream(path):
        raise UserError(f"{path}: no such configuration. Presets are in config/: demo.yaml, small.yaml, paper.yaml.")
    try:
        values = yaml.safe_load(read_input(path, "a configuration (YAML)").decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: found {type(values).__name__}, expected a mapping of sections.")
    return values


def _known_keys(location: tuple[int | str, ...]) -> str:
    section: Any = Config
    for part in location[:-1]:
        fields = getattr(section, "model_fields", None)
        if fields is not None:
            section = fields[part].annotation if part in fields else None
        elif part in STAGE_KINDS:
            section = STAGE_KINDS[part]
        else:
            section = next((a for a in getattr(section, "__args__", ()) if hasattr(a, "model_fields")), None)
    fields = getattr(section, "model_fields", {})
    return f"expected one of {', '.join(fields)}" if fields else "remove it"
