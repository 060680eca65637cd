"""`null` removes an entry from a section of named entries, such as `diarizers: {eres2net-8: null}` in an overlay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_SECTIONS = ("stages", "decodings", "speaker_corpora", "embeddings", "diarizers", "recognizers", "systems", "recipes")
_NAMED = (
    *((section,) for section in _SECTIONS),
    ("corpus", "folders"),
    ("stages", "*", "part_learning_rates"),
    ("embeddings", "*", "size"),
    ("systems", "*", "files"),
)
"""Where the configuration has entries by name; `*` stands for any name."""
_REFERENCES = (
    ("stages", "parent", "stages"),
    ("stages", "first_pass.checkpoint", "stages"),
    ("stages", "first_pass.folds", "stages"),
    ("stages", "first_pass.decoding", "decodings"),
    ("diarizers", "embedding", "embeddings"),
    ("diarizers", "asr.checkpoint", "stages"),
    ("diarizers", "asr.decoding", "decodings"),
    ("diarizers", "asr.recognizer", "recognizers"),
    ("embeddings", "training.corpora", "speaker_corpora"),
    ("recipes", "checkpoint", "stages"),
    ("recipes", "decoding", "decodings"),
    ("recipes", "control", "recipes"),
)
"""(section, key of its entries, section that the key's value is a name of)."""


def without_removed(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """`values` without entries that are null, and the names that were removed from each section.

    A section that is null has its defaults. The text `null` is null too: Snakemake's `--config` makes it of what stands
    in braces.

    >>> without_removed({"diarizers": {"a": {"embedding": "x"}, "b": None}, "systems": None})
    ({'diarizers': {'a': {'embedding': 'x'}}}, {'diarizers': ['b']})
    """
    kept = {key: value for key, value in values.items() if not _is_null(value)}
    removed = {section: names for section in _SECTIONS if (names := _nulls(kept.get(section)))}
    for path in _NAMED:
        kept = _pruned(kept, path)
    return kept, removed


def dangling(values: Mapping[str, Any], removed: Mapping[str, list[str]]) -> list[str]:
    """A fault for each key of `values` that names an entry in `removed`: what to remove too, or to name instead.

    >>> dangling({"diarizers": {"a": {"embedding": "x"}}, "embeddings": {"y": {}}}, {"embeddings": ["x"]})
    ["diarizers.a.embedding: 'x' was removed (embeddings.x: null); remove diarizers.a too, or name one of y"]
    """
    faults = []
    for owner, key, section, name in _referring(values):
        if name in removed.get(section, ()):
            known = _mapping(values.get(section))
            others = f"name one of {', '.join(map(str, known))}" if known else "nothing is left to name"
            remedy = others if owner == "reasoning" else f"remove {owner} too, or {others}"
            faults.append(f"{owner}.{key}: {name!r} was removed ({section}.{name}: null); {remedy}")
    return faults


def _referring(values: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    """(path of the entry, key, section that is referred to, name in it) of every reference, unchecked."""
    for section, key, target in _REFERENCES:
        for name, entry in _mapping(values.get(section)).items():
            found = [entry]
            for part in key.split("."):
                values_of = [_mapping(one).get(part) for one in found]
                found = [each for one in values_of for each in (one if isinstance(one, (list, tuple)) else [one])]
            for one in found:
                yield f"{section}.{name}", key, target, one
    if any(_mapping(stage).get("template") == "reasoning" for stage in _mapping(values.get("stages")).values()):
        reasoning = _mapping(values.get("reasoning"))
        checkpoints = reasoning.get("checkpoint", "ckpt-7000")
        for one in checkpoints if isinstance(checkpoints, (list, tuple)) else [checkpoints]:
            yield "reasoning", "checkpoint", "stages", one
        yield "reasoning", "decoding", "decodings", reasoning.get("decoding", "greedy")


def _pruned(values: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """`values` whose entries at `path` are not null."""
    if not path:
        return {key: value for key, value in values.items() if not _is_null(value)}
    first, *rest = path
    return {
        key: _pruned(value, tuple(rest)) if first in ("*", key) and isinstance(value, Mapping) else value
        for key, value in values.items()
    }


def _nulls(section: Any) -> list[str]:
    return [name for name, value in _mapping(section).items() if _is_null(value)]


def _is_null(value: Any) -> bool:
    return value is None or value == "null"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
