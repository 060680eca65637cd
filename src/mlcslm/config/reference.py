"""config/README.md: every configuration key, from the descriptions in `mlcslm.config`.

`python -m mlcslm.config.reference config/README.md` rewrites it.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from mlcslm.config.base import Section
from mlcslm.config.schema import Config
from mlcslm.io.files import atomic_path

INTRODUCTION = """\
# Configuration

<!-- `make reference` writes this file from src/mlcslm/config/. -->

A preset is one YAML file that defines a whole run: `demo.yaml` (the default), `small.yaml`, `paper.yaml`,
`challenge2026.yaml`; `evaluate.yaml` trains nothing. Keys it omits have the defaults given below. Unknown keys and
impossible values are rejected before anything runs, all at once, each with its path. `languages.tsv` is the table
of groups, `tables.yaml` has the paper's tables; the 2026 challenge has its own versions of both. `controls/` has
control experiments that the paper lacks, to be merged into a preset (docs/reasoning.md), `recipes/` what is tried
beyond it, with controls of the same cost (docs/recipes.md).

## Changing a preset

Give a file with only the differences after the preset, or single values on the command line. Both are merged into the
preset key by key, at any depth:

```
snakemake --cores all --configfile config/small.yaml mine.yaml
snakemake --cores all --configfile config/small.yaml --config results=results-mine 'models={encoder: /models/whisper}'
```

- `--configfile` and `--config` swallow everything up to the next option: put the target before them
  (`snakemake results-mine/tables/table6.csv --cores all --configfile …`), or omit it to get Table 6.
- `null` removes an entry: `diarizers: {eres2net-8: null}` drops a diarizer, `corpus: {folders: {test: null}}` the test
  split. What still refers to it is named. A section that is null has its defaults.
- When you change stages, name the preset with `--configfile`, even `config/demo.yaml`: a configuration that has
  stages is taken as complete, so the demo is not read at all unless it is named.
- Give each configuration its own `results` folder. Within one folder, changing a key makes Snakemake rerun whatever
  depends on it, and nothing else.
- A new stage or decoding is a new entry, such as `beam-4: {method: beam, beams: 4}` under `decodings`. A table shows
  the paper's rows whose checkpoints the preset has; to score any other system, request its file
  (`results/scores/ckpt-7000/beam-4/dev.parquet`); `--forcerun table` then adds it to `results.duckdb`.

"""


def render_reference() -> str:
    """The text of config/README.md: an introduction, then a table of keys per section."""
    sections = "\n".join(_section(path, section) for path, section in _sections("", Config))
    return INTRODUCTION + sections


def _sections(path: str, section: type[Section]) -> Iterator[tuple[str, type[Section]]]:
    """`section` and all sections below it, each with its path in a file: `corpus.demo`, `stages.<name>`."""
    yield path, section
    for key, field in section.model_fields.items():
        below, of_names = _below(field.annotation)
        for below_section in below:
            name = f"<{_kind(below_section)}>" if len(below) > 1 else "<name>"
            yield from _sections(".".join(filter(None, [path, key, name if of_names else ""])), below_section)


def _below(annotation: Any) -> tuple[list[type[Section]], bool]:
    """The kinds of sections that a key holds, if any, and whether it holds several of them by name."""
    if get_origin(annotation) is dict:
        return _below(get_args(annotation)[1])[0], True
    if get_origin(annotation) in (Annotated, Union, types.UnionType, tuple):
        return [kind for argument in get_args(annotation) for kind in _below(argument)[0]], False
    return ([annotation] if _is_section(annotation) else []), False


def _kind(section: type[Section]) -> str:
    """The value of `kind` that selects this section among its alternatives."""
    return get_args(section.model_fields["kind"].annotation)[0]


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _section(path: str, section: type[Section]) -> str:
    title = f"## `{path}`" if path else "## The file"
    summary = " ".join((section.__doc__ or "").split("\n\n")[0].split())
    rows = [_row(key, field) for key, field in section.model_fields.items()]
    return "\n".join([title, "", summary, "", "| key | value | default | what |", "|---|---|---|---|", *rows, ""])


def _row(key: str, field: FieldInfo) -> str:
    below, of_names = _below(field.annotation)
    values = "sections by name" if of_names and below else _values(field.annotation, field.metadata)
    cells = (f"`{key}`", values, _default(field, below), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo, below: list[type[Section]]) -> str:
    if field.is_required():
        return "required"
    if below:
        value = field.get_default(call_default_factory=True)
        return "its defaults" if value else "none"
    return _literal(field.get_default(call_default_factory=True))


def _literal(value: Any) -> str:
    """`value` as typed into a YAML file."""
    match value:
        case None:
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case dict():
            return "none" if not value else f"`{value}`"
        case tuple():
            return f"`[{', '.join(map(str, value))}]`"
        case "":
            return "empty"
    return f"`{value}`"


def _values(annotation: Any, limits: list[Any]) -> str:
    """The values that a key accepts, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0], [*limits, *arguments[1:]])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if argument is type(None) else _values(argument, []) for argument in arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"list of {_values(arguments[0], [])}"
    if origin is tuple:
        return f"{len(arguments)} × {_values(arguments[0], [])}"
    if _is_section(annotation):
        return "section"
    if origin is dict:
        return f"{_values(arguments[1], [])} for each of {_values(arguments[0], [])}"
    kind = {bool: "`true`, `false`", int: "integer", float: "number", str: "text"}[annotation]
    bounds = ", ".join(f"{sign} {bound}" for limit in limits for sign, bound in _bounds(limit))
    return f"{kind} {bounds}".strip()


def _bounds(limit: Any) -> Iterator[tuple[str, Any]]:
    """Sign and bound of a constraint such as `annotated_types.Ge`; nothing for other constraints."""
    for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if hasattr(limit, attribute):
            yield sign, getattr(limit, attribute)


if __name__ == "__main__":
    with atomic_path(sys.argv[1]) as out:
        out.write_text(render_reference(), encoding="utf-8")
