"""Reads configuration files as Snakemake does: several may be given, each overriding those before it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mlcslm.config.checkout import here_or_checkout
from mlcslm.config.removal import dangling, without_removed
from mlcslm.config.schema import Config
from mlcslm.config.stages import STAGE_KINDS
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.places import expand_tildes, is_stream
from mlcslm.io.reading import read_input
from mlcslm.runtime.secrets import refuse_secrets

RENAMED = {
    "stages.*.longest_s": "max_duration_s",
    "reasoning.longest_details": "max_details",
    "decodings.*.context: own": "hypotheses",
}
"""New names of keys and, as `key: value`, of values that earlier configurations have; `*` stands for any name."""


_SETTING = re.compile(r"[A-Za-z_][\w.]*=", re.ASCII)


def read_config_files(given: Sequence[str | os.PathLike[str]]) -> Config:
    """The configuration of files and `key=value` settings, merged in order as Snakemake's options do.

    Raises UserError for a file that is missing or not YAML, FaultyInput for faulty keys.
    """
    values: dict[str, Any] = {}
    for one in map(str, given):
        values = merged(values, _setting(one) if is_setting(one) else read_values(one))
    return parse_config(values, ", ".join(map(str, given)))


def is_setting(text: str) -> bool:
    """Whether `text` is `key=value`, and no file.

    >>> is_setting("results=mine"), is_setting("config/small.yaml")
    (True, False)
    """
    return _SETTING.match(text) is not None and not Path(text).exists()


def _setting(text: str) -> dict[str, Any]:
    """What `key=value` sets, value in YAML: Snakemake's `--config`."""
    import yaml

    key, _, value = text.partition("=")
    try:
        return {key: yaml.safe_load(value)}
    except yaml.YAMLError as error:
        raise UserError(f"{text}: not valid YAML behind the equals sign: {error}") from None


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` updated with `changes`: sections are merged key by key, everything else is replaced.

    >>> merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"c": 3}, "d": [2]})
    {'a': {'b': 1, 'c': 3}, 'd': [2]}
    """
    both = dict(values)
    for key, value in changes.items():
        known = both.get(key)
        both[key] = merged(known, value) if isinstance(value, Mapping) and isinstance(known, Mapping) else value
    return both


def parse_config(values: Mapping[str, Any], source: str | os.PathLike[str] = "configuration") -> Config:
    """Check `values`; raises FaultyInput, which lists each fault with its key's path, what was found and expected.

    Entries that are null are removed (`mlcslm.config.removal`). Tables and models that the working folder lacks are
    those of mlcslm's checkout.
    """
    refuse_secrets(values, source)
    values, removed = without_removed(values)
    if faults := dangling(values, removed):
        raise FaultyInput(f"{source}: {len(faults)} fault(s); null removes an entry (config/README.md)", faults)
    try:
        return _with_checkout(Config.model_validate(expand_tildes(values)))
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            # Below a stage, pydantic names the kind first, which is not part of the path in the file.
            path = [str(part) for at, part in enumerate(fault["loc"]) if at != 2 or fault["loc"][0] != "stages"]
            path = [part for part in path if not part.startswith("<")]  # tags of `FirstPass`
            key = ".".join(path) or "(whole file)"
            if fault["type"] == "extra_forbidden":
                new = _new_name(path)
                faults.append(f"{key}: unknown key; {f'renamed to {new}' if new else _known_keys(fault['loc'])}")
            else:
                found = "" if fault["type"] in ("missing", "value_error") else f"; found {fault['input']!r}"
                if path and (new := _new_name([*path[:-1], f"{path[-1]}: {fault['input']}"])):
                    found += f", renamed to {new!r}"
                faults.append(f"{key}: {fault['msg'].removeprefix('Value error, ')}{found}")
        raise FaultyInput(f"{source}: {len(faults)} fault(s); config/README.md describes every key", faults) from None


def _with_checkout(config: Config) -> Config:
    """`config` with the checkout's tables and models where the working folder has none of their names."""
    models = config.models
    named = {key: getattr(models, key) for key in ("encoder", "language_model")}
    found = {key: str(here_or_checkout(name)) if name else "" for key, name in named.items()}
    tables = {key: str(here_or_checkout(getattr(config, key))) for key in ("languages", "tables")}
    same = all(getattr(models, key) == value for key, value in found.items())
    return config.model_copy(update=tables | ({} if same else {"models": models.model_copy(update=found)}))


def read_config(path: str | os.PathLike[str]) -> Config:
    """Read and check a single YAML configuration; raises as `read_config_files` does."""
    return parse_config(read_values(path), path)


def read_values(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The sections of a YAML configuration, unchecked. Raises UserError for a file that is missing or not YAML."""
    import yaml

    path = here_or_checkout(path)
    if not path.is_file() and not is_stream(path):
        raise UserError(f"{path}: no such file. Presets are in config/: demo.yaml, small.yaml, paper.yaml.")
    try:
        values = yaml.safe_load(read_input(path, "a configuration (YAML)").decode("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: found {type(values).__name__}, expected a mapping of sections.")
    return values


def _new_name(path: Sequence[str]) -> str | None:
    """What RENAMED says of a key at `path`, or of a value as the last part, `key: value`."""
    for old, new in RENAMED.items():
        parts = old.split(".")
        if len(parts) == len(path) and all(part in ("*", found) for part, found in zip(parts, path, strict=True)):
            return new
    return None


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
