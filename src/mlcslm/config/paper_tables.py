"""The paper's seven tables as data (`config/tables.yaml`): labels, published numbers, the system behind each row."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from mlcslm.errors import FaultyInput, UserError

TableName = Literal["table1", "table2", "table3", "table4", "table5", "table6", "table7"]
WITH_OWN_ROWS = ("table6", "table7")
"""Tables to which a configuration's recognisers add rows (`own_rows`), so that their own may be none."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class Measures(_Section):
    """The system that measures a row: a checkpoint and a decoding (Track 1), or a diarizer (Track 2)."""

    checkpoint: str | None = Field(None, description="name of the checkpoint, which is its stage's in the preset")
    decoding: str | None = Field(None, description="name of the decoding in the preset")
    diarizer: str | None = Field(None, description="name of the diarizer in the preset")

    @model_validator(mode="after")
    def _one_kind(self) -> Measures:
        track1 = (self.checkpoint is not None, self.decoding is not None)
        if track1 not in ((True, True), (False, False)) or track1[0] == (self.diarizer is not None):
            raise ValueError("expected either checkpoint and decoding, or diarizer")
        return self

    @property
    def system(self) -> str | None:
        """`<checkpoint>/<decoding>`; None for a diarizer.

        >>> Measures(checkpoint="ckpt-7000", decoding="greedy").system
        'ckpt-7000/greedy'
        """
        return None if self.checkpoint is None else f"{self.checkpoint}/{self.decoding}"


class PaperRow(_Section):
    """One row of a table of the paper."""

    labels: dict[str, str] = Field(description="text of each label column")
    published: dict[str, Annotated[float, Field(ge=0)]] = Field({}, description="the paper's numbers by value column")
    measures: Measures = Field(description="the system whose numbers appear beside the published ones")
    note: str | None = Field(None, description="what a reader must know about the row")


class PaperTable(_Section):
    """One table of the paper."""

    title: str = Field(description="heading of the table")
    labels: list[str] = Field(min_length=1, description="columns that name a row")
    values: list[str] = Field(min_length=1, description="columns that hold a published number")
    rows: list[PaperRow] = Field(
        description="the rows, in the paper's order; Tables 6 and 7 get those of recognisers too"
    )
    all_diarizers: bool = Field(False, description="whether all diarizers of the preset are measured with it")

    @model_validator(mode="after")
    def _known_columns(self) -> PaperTable:
        for number, row in enumerate(self.rows):
            if list(row.labels) != self.labels:
                raise ValueError(f"rows.{number}.labels: found {list(row.labels)}, expected {self.labels}")
            if unknown := [column for column in row.published if column not in self.values]:
                raise ValueError(f"rows.{number}.published: found {unknown}, expected columns of {self.values}")
        return self


def read_paper_tables(path: str | os.PathLike[str]) -> dict[str, PaperTable]:
    """Read `config/tables.yaml`; return its tables by name. Raises UserError naming each key at fault."""
    path = Path(path)
    title = "fault(s); the comment at the top of config/tables.yaml describes the keys"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file. Expected the paper's tables; restore config/tables.yaml.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML in UTF-8: {error}") from None
    try:
        tables = TypeAdapter(dict[TableName, PaperTable]).validate_python(content)
    except ValidationError as error:
        faults = [_fault(details["loc"], details["msg"], details["input"]) for details in error.errors()]
        raise FaultyInput(f"{path}: {len(faults)} {title}", faults) from None
    faults = [
        _fault((name, "rows"), "expected at least one row", table.rows)
        for name, table in tables.items()
        if not table.rows and name not in WITH_OWN_ROWS
    ]
    if faults:
        raise FaultyInput(f"{path}: {len(faults)} {title}", faults)
    return {str(name): table for name, table in tables.items()}


def rows_for(
    table: PaperTable,
    stages: Collection[str],
    decodings: Collection[str],
    diarizers: Collection[str] = (),
    recognizers: Collection[tuple[str, str]] = (),
) -> list[PaperRow]:
    """Rows of `table` that a preset with these stages, decodings and diarizers can measure, in the paper's order.

    recognizers: (name, name of its search) of each. All other rows are omitted, never shown with empty cells.

    >>> labels = ["checkpoint"]
    >>> row = PaperRow(labels={"checkpoint": "a"}, measures=Measures(checkpoint="ckpt-4000", decoding="greedy"))
    >>> table = PaperTable(title="", labels=labels, values=["dev"], rows=[row])
    >>> [len(rows_for(table, [stage], ["greedy"])) for stage in ("ckpt-4000", "ckpt-2000")]
    [1, 0]
    """
    return [
        row
        for row in table.rows
        if row.measures.diarizer in diarizers
        or (row.measures.checkpoint in stages and row.measures.decoding in decodings)
        or (row.measures.checkpoint, row.measures.decoding) in recognizers
    ]


def _fault(location: tuple[int | str, ...], message: str, found: object) -> str:
    key = ".".join(str(part) for part in location) or "(whole file)"
    rendered = repr(found)
    return f"{key}: {message}; found {rendered if len(rendered) <= 80 else rendered[:77] + '...'}"
