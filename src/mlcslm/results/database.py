"""`results.duckdb`: everything the workflow measured, in one file that is only ever read, or replaced whole."""

from __future__ import annotations

import contextlib
import importlib.resources
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb
from pyarrow.parquet import read_schema

import mlcslm
from mlcslm.config.languages import read_languages
from mlcslm.config.own_rows import with_own_rows
from mlcslm.config.paper_tables import PaperTable, read_paper_tables, rows_for
from mlcslm.config.reading import parse_config
from mlcslm.config.schema import Config
from mlcslm.decoding.hypothesis_files import PARAMETERS
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import atomic_path, fingerprint, sha256
from mlcslm.io.locks import exclusive
from mlcslm.io.places import check_output_file
from mlcslm.results import intervals, loading
from mlcslm.results.external_systems import ExternalSystem, counts_of, insert_systems, load_answers
from mlcslm.results.word_pairs import insert_token_pairs
from mlcslm.text.protocols import get_protocol
from mlcslm.workflow.layout import Layout
from mlcslm.workflow.paths import CARD

_VIEWS = ("views.sql", "diarization_views.sql", "average_views.sql", "table_views.sql")


@dataclass(frozen=True)
class SystemRow:
    """A checkpoint with a decoding, or a ready recogniser with its search.

    parent: checkpoint that its training started from, None for the foundation models and for recognisers; method: label
    of the method, None if it has none; recognizer: whether it is a ready recogniser; parameters: then
    how many it has.
    """

    checkpoint: str
    decoding: str
    parent: str | None = None
    method: str | None = None
    recognizer: bool = False
    parameters: int | None = None

    @property
    def system(self) -> str:
        """`<checkpoint>/<decoding>`.

        >>> SystemRow("ckpt-7000", "greedy").system
        'ckpt-7000/greedy'
        """
        return f"{self.checkpoint}/{self.decoding}"

    @classmethod
    def from_config(cls, config: Config, checkpoint: str, decoding: str, hypotheses: Path | None = None) -> SystemRow:
        """The system of a stage's checkpoint, with the stage's parent and method label, or of a ready recogniser.

        hypotheses: a file of the system's, which says how many parameters a recogniser has.
        """
        if checkpoint in config.recognizers:
            metadata = (hypotheses and read_schema(hypotheses).metadata) or {}
            parameters = metadata.get(PARAMETERS.encode())
            return cls(
                checkpoint,
                decoding,
                method="ready recogniser",
                recognizer=True,
                parameters=None if parameters is None else int(parameters),
            )
        stage = config.stages[checkpoint]
        return cls(checkpoint, decoding, None if stage.parent == "foundation" else stage.parent, stage.method or None)


def build_database(
    out: Path,
    *,
    preset: str,
    config: Mapping[str, Any],
    manifests: Mapping[str, Path],
    hypotheses: Mapping[tuple[str, str], Path],
    scores: Sequence[Path],
    reflections: Sequence[Path],
    training_logs: Sequence[Path],
    diarization: Sequence[Path],
    segments: Mapping[tuple[str, str], Path],
    tables: Path,
    languages: Path,
    systems: Sequence[SystemRow],
    left_out: Collection[str] = (),
    external: Sequence[ExternalSystem] = (),
    oracles: Sequence[Path] = (),
    stage_costs: Path | None = None,
    stretch_answers: Mapping[tuple[str, str], Path] = MappingProxyType({}),
    renaming: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Write `out`, tables of schema.sql and the views over them, from the workflow's Parquet files.

    preset: the config's name, for readers; config: the whole configuration as JSON, validated here (its `scoring`
    section names the protocol that the views show); manifests: by split; hypotheses: by system and split; diarization:
    counts of each diarizer and split; segments: their transcripts, by diarizer and split; tables, languages:
    tables.yaml and languages.tsv; systems: all that the config decodes; left_out: diarizers and recognisers that cannot
    run here, whose rows are left out of tables; external: systems decoded elsewhere; oracles: of decodings with
    candidates; stage_costs: of the recipes' stages, if they are known; stretch_answers: of diarizers with `stretch_s`,
    by diarizer and split; renaming: context entered before the finished file is renamed into place, and left
    afterwards. Raises UserError, and leaves `out` as it was, if the files disagree (counts must cover exactly the
    manifest's utterances) or another process is writing to `out`.
    """
    checked, groups = parse_config(config), read_languages(languages)
    paper_tables = with_own_rows(read_paper_tables(tables), checked)
    settings = _settings(preset, checked, manifests, tables)
    _check_replaceable(out)
    with ExitStack() as until_renamed, atomic_path(out) as temporary:
        try:
            with duckdb.connect(str(temporary)) as connection:
                connection.begin()
                connection.execute(_sql("schema.sql"))
                _insert_rows(connection, "settings", list(settings.items()))
                _insert_rows(connection, "groups", [astuple(group) for group in groups.values()])
                _insert_rows(
                    connection,
                    "systems",
                    [
                        (
                            *(row.system, None if row.recognizer else row.checkpoint, row.parent, row.decoding),
                            *(row.method, None, row.parameters),
                        )
                        for row in systems
                    ],
                )
                _insert_rows(connection, "diarizers", _diarizers(checked))
                _insert_rows(
                    connection,
                    "recipes",
                    [
                        (
                            *(name, f"{one.checkpoint}/{one.decoding}", one.checkpoint, one.control, one.note or None),
                            checked.needs_ctc_head(one.checkpoint, one.decoding),
                        )
                        for name, one in checked.recipes.items()
                    ],
                )
                insert_systems(connection, external, manifests)
                loading.load_manifests(connection, manifests)
                loading.load_hypotheses(connection, hypotheses)
                loading.load_counts(connection, [*scores, *counts_of(external, 1)])
                loading.load_reflections(connection, reflections)
                loading.load_oracles(connection, oracles)
                loading.load_stage_costs(connection, stage_costs, checked.stages)
                loading.load_training_logs(connection, training_logs)
                loading.load_dev_curves(connection, training_logs)
                loading.load_reinforcement_logs(connection, training_logs)
                loading.load_diarization(connection, [*diarization, *counts_of(external, 2)])
                loading.load_segments(connection, segments)
                loading.load_stretch_answers(connection, stretch_answers)
                load_answers(connection, external)
                _check_protocol(connection, settings["protocol"])
                scoring = checked.scoring
                insert_token_pairs(connection, get_protocol(scoring.protocol, scoring.normalise_hypothesis))
                _insert_paper_tables(connection, paper_tables, checked, left_out)
                for views in _VIEWS:
                    connection.execute(_sql(views))
                intervals.insert_intervals(connection)
                intervals.insert_comparisons(
                    connection, settings["protocol"], checked.scoring.bootstrap_samples, checked.seed
                )
                connection.commit()
                connection.execute("CHECKPOINT")
        finally:
            _write_ahead_log(temporary).unlink(missing_ok=True)
        until_renamed.enter_context(renaming())
        # A write-ahead log that a killed session left beside the old file would be replayed onto the new one.
        _write_ahead_log(out).unlink(missing_ok=True)


def open_database(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a results database for reading. Raises UserError if it is missing, locked, or not a DuckDB file."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file. Run the workflow, which builds it.")
    try:
        connection = duckdb.connect(str(path), read_only=True)
        (expected,) = connection.execute("SELECT block_size * total_blocks FROM pragma_database_size()").fetchall()[0]
    except duckdb.Error as error:
        if _is_lock(error):
            raise _locked(path, error) from None
        raise UserError(f"{path}: cannot be opened as a DuckDB database ({error}); {loading.REMAKE}.") from None
    # DuckDB opens a truncated file all the same, and may even answer queries.
    if (found := Path(path).stat().st_size) < expected:
        connection.close()
        raise UserError(f"{path}: truncated: found {found:,} bytes, expected {expected:,}; {loading.REMAKE}.")
    return connection


def _sql(name: str) -> str:
    return importlib.resources.files("mlcslm.results").joinpath(name).read_text(encoding="utf-8")


def _settings(preset: str, config: Config, manifests: Mapping[str, Path], tables: Path) -> dict[str, str]:
    values = config.model_dump(mode="json")
    scoring = config.scoring
    corpora = ["demo (generated)"] if config.corpus.kind == "demo" else []
    corpora += dict.fromkeys(config.corpus.folders.values())
    return {
        "config": json.dumps(values, ensure_ascii=False, sort_keys=True),
        "config_fingerprint": fingerprint(values),
        "tables_fingerprint": sha256(tables),
        **{f"manifest_fingerprint/{split}": sha256(path) for split, path in manifests.items() if path.is_file()},
        "preset": preset,
        "corpus": ", ".join(corpora),
        "models": ", ".join(_models(config)),
        "protocol": get_protocol(scoring.protocol, scoring.normalise_hypothesis).name,
        "seed": str(config.seed),
        "bootstrap_samples": str(scoring.bootstrap_samples),
        "bootstrap_level": str(intervals.LEVEL),
        "mlcslm_version": mlcslm.__version__,
    }


def _models(config: Config) -> list[str]:
    """What the systems are made of: the foundation models if anything is trained from them, and the recognisers."""
    trained = [f"{config.models.encoder} + {config.models.language_model}"] if config.stages else []
    return [*trained, *dict.fromkeys(one.model for one in config.recognizers.values())]


def _insert_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        places = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({places})", rows)


def _check_protocol(connection: duckdb.DuckDBPyConnection, protocol: str) -> None:
    """Raise UserError if a system was scored on a split, but not under the protocol that the views show."""
    lacking = connection.execute(
        "SELECT system, split, string_agg(DISTINCT protocol, ', ') FROM (SELECT system, split, protocol "
        "FROM asr_counts UNION ALL SELECT system, split, protocol FROM diarization_counts) GROUP BY system, split "
        "HAVING NOT bool_or(protocol = ?) ORDER BY ALL",
        [protocol],
    ).fetchall()
    if lacking:
        raise FaultyInput(
            f"No counts under the config's protocol (scoring.protocol: {protocol}); score these again:",
            [f"{system} on {split}: found {found}" for system, split, found in lacking],
        )


def _diarizers(config: Config) -> list[tuple[Any, ...]]:
    return [
        (
            *(name, diarizer.vad, diarizer.max_segment_s, diarizer.embedding),
            *(diarizer.num_speakers, diarizer.keep_vad_boundaries, diarizer.resegment),
            *("/".join(config.transcriber(name)), None, None),
        )
        for name, diarizer in config.diarizers.items()
    ]


def _insert_paper_tables(
    connection: duckdb.DuckDBPyConnection, tables: Mapping[str, PaperTable], config: Config, left_out: Collection[str]
) -> None:
    titles = [(name, table.title, table.values) for name, table in tables.items()]
    _insert_rows(connection, "paper_tables", titles)
    diarizers = [name for name in config.diarizers if name not in left_out]
    recognizers = [pair for pair in config.decoded if pair[0] in config.recognizers and pair[0] not in left_out]
    rows: list[tuple[Any, ...]] = []
    published: list[tuple[str, int, str, float]] = []
    for name, table in tables.items():
        measured = rows_for(table, config.stages, config.decodings, diarizers, recognizers)
        # Rows that the paper does not have appear only if measured.
        known = [row for row in table.rows if row.published or row in measured]
        for position, row in enumerate(known, start=1):
            measures, rendered = row.measures, row in measured
            rows.append((name, position, row.labels, measures.system, measures.diarizer, rendered, row.note))
            published.extend((name, position, column, value) for column, value in row.published.items())
    _insert_rows(connection, "table_rows", rows)
    _insert_rows(connection, "published", published)


def _check_replaceable(path: Path) -> None:
    """Raise UserError if another process is writing to `path`, or if it is not a results database.

    A damaged file passes if it starts with DuckDB's magic bytes.
    """
    path = check_output_file(path)
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            ours = bool(connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'settings'").fetchall())
    except duckdb.Error as error:
        if _is_lock(error):
            raise _locked(path, error) from None
        with path.open("rb") as file:
            ours = file.read(12)[8:] == b"DUCK"
    if not ours:
        raise UserError(f"{path}: exists and is not a results database of mlcslm. Move it away; nothing was changed.")


def _is_lock(error: duckdb.Error) -> bool:
    return "Could not set lock" in str(error) or "different configuration" in str(error)


def _locked(path: Path, error: duckdb.Error) -> UserError:
    return UserError(
        f"{path}: another process has it open for writing, which locks everybody else out "
        f"({str(error).splitlines()[0]}). Close it there, or open it read-only, and run again."
    )


def _write_ahead_log(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


_PATIENCE = 3


class _OvertakenError(Exception):
    """Another process added to the results while the database was being written."""


def collect_database(config: Config, layout: Layout) -> Path:
    """Write the database of everything measured so far that is part of the configuration, and of external systems.

    Returns its path. Several processes may do this at once without losing each other's additions: each writes a file of
    its own without waiting, then, one at a time, checks whether the results are still those it has read. If not, it
    starts over; at the fourth attempt it makes the others wait. Raises UserError as `build_database` does.
    """
    database = layout.database()
    for attempt in range(_PATIENCE + 1):
        last = attempt == _PATIENCE
        with exclusive(database) if last else contextlib.nullcontext():
            found = _found(config, layout)
            before = _stamps(found)
            try:
                build_database(database, **found, renaming=partial(_unchanged, config, layout, before))
            except _OvertakenError:
                continue
            except UserError:  # perhaps of files that another process added and has removed since
                if last or _stamps(_found(config, layout)) == before:
                    raise
            else:
                return database
    raise AssertionError("nobody overtakes the holder of the lock")


@contextlib.contextmanager
def _unchanged(config: Config, layout: Layout, before: Mapping[Path, Any]) -> Iterator[None]:
    """Hold the lock while a database is renamed into place; raise _OvertakenError unless the results are `before`'s."""
    with exclusive(layout.database()):
        if _stamps(_found(config, layout)) != before:
            raise _OvertakenError
        yield


def _found(config: Config, layout: Layout) -> dict[str, Any]:
    """Arguments of `build_database`, from the results folder."""
    systems, diarizers = layout.on_disk(), layout.diarization_on_disk()
    logs = (layout.training_log(name) for name in config.stages)
    return {
        "preset": layout.preset,
        "config": config.model_dump(mode="json"),
        "manifests": {split: layout.manifest(split) for split in layout.splits if layout.manifest(split).exists()},
        "hypotheses": {(f"{system[0]}/{system[1]}", system[2]): layout.hypotheses(*system) for system in systems},
        "scores": [layout.scores(*system) for system in systems],
        "reflections": [layout.reflections(*system) for system in systems],
        "training_logs": [log for log in logs if log.exists()],
        "diarization": [layout.diarization_counts(*diarizer) for diarizer in diarizers],
        "segments": {diarizer: layout.diarization_hypotheses(*diarizer) for diarizer in diarizers},
        "tables": Path(config.tables),
        "languages": Path(config.languages),
        "systems": [
            SystemRow.from_config(config, *names, layout.hypotheses(*names, split))
            for names, split in {one[:2]: one[2] for one in systems}.items()
        ],
        "left_out": [
            *(name for name in config.diarizers if name not in layout.measurable.diarizers),
            *(name for name in config.recognizers if name not in layout.measurable.recognizers),
        ],
        "external": [ExternalSystem.read(folder) for folder in layout.external_on_disk()],
        "oracles": [path for system in systems if (path := layout.oracles(*system)).exists()],
        "stretch_answers": {
            diarizer: path
            for diarizer in diarizers
            if config.diarizers[diarizer[0]].stretch_s is not None
            and (path := layout.diarization_answers(*diarizer)).exists()
        },
        "stage_costs": path if (path := layout.stage_costs()).exists() and config.recipes else None,
    }


def _stamps(found: Mapping[str, Any]) -> dict[Path, tuple[int, int, int] | None]:
    """What identifies each file of `_found`: files are replaced by renaming, which changes the inode."""
    paths = [*found["manifests"].values(), found["tables"], found["languages"]]
    for kind in ("scores", "reflections", "training_logs", "diarization", "oracles"):
        paths += found[kind]
    paths += [found["stage_costs"]] if found["stage_costs"] else []
    for kind in ("hypotheses", "segments", "stretch_answers"):
        paths += found[kind].values()
    paths += [system.folder / CARD for system in found["external"]]
    stamps: dict[Path, tuple[int, int, int] | None] = {}
    for path in paths:
        try:
            status = path.stat()
        except FileNotFoundError:
            stamps[path] = None
        else:
            stamps[path] = status.st_ino, status.st_size, status.st_mtime_ns
    return stamps
