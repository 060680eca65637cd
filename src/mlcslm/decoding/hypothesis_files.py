"""Which utterances a decoding answers and the provenance of its hypotheses: enough to tell if it is done. No torch."""

from __future__ import annotations

import errno
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from mlcslm.config.decoding import DecodingConfig
from mlcslm.corpus.folds import sessions_of_fold
from mlcslm.decoding.engine_environment import EngineInfo
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import atomic_path, read_rows, sha256
from mlcslm.io.parquet import read_table, write_table
from mlcslm.runtime.interruption import between_steps
from mlcslm.runtime.progress import progress

PARAMETERS = "parameters"
"""Key of the Parquet metadata that holds a recogniser's number of parameters."""
_COLUMNS = ["utterance_id", "session_id", "grp", "turn", "audio", "start", "end"]


def rows_to_decode(
    manifest: Path,
    groups: Sequence[str] | None = None,
    fold: tuple[int, int] | None = None,
    columns: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Rows of `manifest` in `groups` and in a session of `fold`, if given, with what decoding needs and `columns`."""
    rows = read_table(manifest, columns=list(dict.fromkeys([*_COLUMNS, *columns]))).to_pylist()
    sessions = sessions_of_fold(rows, fold) if fold is not None else None
    return [
        row
        for row in rows
        if (groups is None or row["grp"] in groups) and (sessions is None or row["session_id"] in sessions)
    ]


def provenance(
    checkpoint: Path,
    manifest: Path,
    decoding: DecodingConfig,
    ctc: Path | None = None,
    engine: EngineInfo | None = None,
    first_passes: Sequence[Path] = (),
) -> dict[str, str]:
    """What hypotheses depend on, as stored in their file: checkpoint, decoding and manifest (the last two JSON).

    ctc: folder of the CTC head, for a decoding or a checkpoint that needs one; engine: what runs the language model,
    for a decoding that does not do so itself; first_passes: hypotheses of other checkpoints, which are in the prompts.
    """
    head = {"ctc": sha256(ctc / "ctc.json")} if ctc is not None else {}
    by = {"engine": engine.version} if engine is not None and decoding.engine != "own" else {}
    heard = {"first_passes": json.dumps([sha256(path) for path in first_passes])} if first_passes else {}
    return {
        "checkpoint": sha256(checkpoint / "checkpoint.json"),
        "decoding": json.dumps(decoding.model_dump(mode="json")),
        "manifest": json.dumps(sha256(manifest)),
        **head,
        **by,
        **heard,
    }


def is_finished(hypotheses: Path, by: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the file `hypotheses` exists, has exactly the provenance `by` and answers exactly these manifest rows."""
    try:
        table = read_table(hypotheses, columns=["utterance_id"])
    except UserError:  # missing, or damaged and to be redone
        return False
    found = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    return found == dict(by) and table["utterance_id"].to_pylist() == [row["utterance_id"] for row in rows]


def reuse_finished(kept: Path, out: Path, by: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Move hypotheses that another job has made from `kept` to `out`; False if they are missing or outdated."""
    if not is_finished(kept, by, rows):
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        kept.replace(out)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with atomic_path(out) as temporary:  # the two folders are on different disks
            shutil.copyfile(kept, temporary)
        kept.unlink()
    return True


class PartialHypotheses:
    """What has been decoded so far for `out`, in a hidden file beside it.

    rows: hypotheses by utterance id. Those of another provenance are dropped, and so is a line truncated by a kill.
    """

    def __init__(self, out: Path, provenance: Mapping[str, str]) -> None:
        self._path = out.with_name(f".{out.name}.partial")
        header, *rows = read_rows(self._path) or [{}]
        if header != dict(provenance):
            rows = []
        self.rows: dict[str, dict[str, Any]] = {row["utterance_id"]: row for row in rows}
        with atomic_path(self._path) as temporary:
            temporary.write_text(_lines([provenance, *self.rows.values()]), encoding="utf-8")

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep the hypotheses of a batch."""
        self.rows |= {row["utterance_id"]: row for row in rows}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(_lines(rows))

    def remove(self) -> None:
        """Remove the file, once the decoding is complete."""
        self._path.unlink()


def complete_hypotheses(
    out: Path,
    by: Mapping[str, str],
    rows: Sequence[dict[str, Any]],
    decode: Callable[[Mapping[str, dict[str, Any]]], Iterator[list[dict[str, Any]]]],
    *,
    schema: pa.Schema,
    label: str,
    further: Mapping[str, str] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """Decode what a killed run has left of `rows`, write all hypotheses to `out`, and return them in no fixed order.

    by: their provenance; decode: batches of hypotheses, given those that exist by utterance id; schema: of the output,
    which may have columns of `rows`; further: metadata besides the provenance. Leaves between batches when asked to.
    """
    done = PartialHypotheses(out, by)
    with progress(len(rows), label, "utterance", initial=len(done.rows)) as bar, between_steps() as stop:
        for hypotheses in decode(done.rows):
            done.add(hypotheses)
            bar.update(len(hypotheses))
            stop.leave(f"{len(done.rows)} of {len(rows)} hypotheses")
    table = pa.Table.from_pylist([row | done.rows[row["utterance_id"]] for row in rows], schema=schema)
    write_table(table.replace_schema_metadata({**by, **further}), out)
    done.remove()
    return list(done.rows.values())


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


_REMEDY = "Delete the shards and run again."


def merge_shards(shards: Sequence[Path], manifest: Path, out: Path) -> None:
    """Write a decoding's shards as one file. Raises UserError as `merged_shards` does."""
    write_table(merged_shards(shards, manifest), out)


def merged_shards(shards: Sequence[Path], manifest: Path) -> pa.Table:
    """The hypotheses of all shards of a decoding, in the manifest's order.

    Raises UserError naming hypotheses that are missing, duplicated or not in the manifest, and shards that come from
    another checkpoint or decoding.
    """
    tables = [read_table(shard) for shard in shards]
    for shard, table in zip(shards, tables, strict=True):
        if table.schema.metadata != tables[0].schema.metadata:
            raise UserError(f"{shard}: comes from another checkpoint or decoding than {shards[0]}. {_REMEDY}")
    table = pa.concat_tables(tables)
    found = Counter(table["utterance_id"].to_pylist())
    expected = read_table(manifest, columns=["utterance_id"])["utterance_id"].to_pylist()
    faults = {
        "missing": [name for name in expected if name not in found],
        "duplicated": [name for name, count in found.items() if count > 1],
        "not in the manifest": sorted(set(found) - set(expected)),
    }
    if any(faults.values()):
        found_in = f"{shards[0].parent}: its {len(shards)} shards hold {table.num_rows} hypotheses"
        title = f"{found_in}, {manifest} has {len(expected)}. {_REMEDY}"
        raise FaultyInput(title, [f"{len(names)} {what}: {_few(names)}" for what, names in faults.items() if names])
    row_of = {name: row for row, name in enumerate(table["utterance_id"].to_pylist())}
    return table.take([row_of[name] for name in expected])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
