"""Loads Parquet files into DuckDB tables, after checking columns, types, nulls and that the files agree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from mlcslm.corpus.manifest import SCHEMA as MANIFEST_SCHEMA
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.parquet import read_table
from mlcslm.scoring.diarization_counts import DIARIZATION_COUNTS_SCHEMA
from mlcslm.scoring.oracle import ORACLES_SCHEMA
from mlcslm.scoring.self_correction import REFLECTIONS_SCHEMA
from mlcslm.scoring.wer_counts import COUNTS_SCHEMA

REMAKE = "remove the file and run the workflow again"
MAY_BE_ABSENT = {"absent": "files of before have no such column; it is read as nulls"}


def _schema(strings: Sequence[str] = (), integers: Sequence[str] = (), floats: Sequence[str] = ()) -> list[pa.Field]:
    """Fields by type; a name that ends in `?` may hold nulls."""
    kinds = ((strings, pa.string()), (integers, pa.int32()), (floats, pa.float64()))
    return [pa.field(name.rstrip("?"), kind, name.endswith("?")) for names, kind in kinds for name in names]


def _required(schema: pa.Schema) -> list[pa.Field]:
    """Fields of `schema`, none of them nullable."""
    return [field.with_nullable(False) for field in schema]


# Decoding and training have schemas of their own, but importing them would import torch.
_LOOP = pa.field("loop", pa.bool_(), metadata=MAY_BE_ABSENT)
HYPOTHESES = [
    *_schema(
        ["utterance_id", "raw_text", "language?", "transcript", "think?", "stop_reason"],
        ["tokens", "audio_tokens"],
        ["seconds"],
    ),
    _LOOP,
    pa.field("first_pass", pa.string(), metadata=MAY_BE_ABSENT),
]
SEGMENTS = [
    *_schema(
        ["utterance_id", "recording", "grp", "speaker", "raw_text?", "language?", "transcript?", "stop_reason"],
        ["tokens"],
        ["start", "end", "seconds"],
    ),
    _LOOP,
]
STRETCHES = [
    *_schema(["utterance_id", "recording", "grp", "raw_text", "stop_reason"], ["tokens"], ["start", "end", "seconds"]),
    _LOOP,
]
STAGE_COSTS = [
    *_schema(["checkpoint", "parent?"], ["steps"], ["flop"]),
    pa.field("ctc_flop", pa.float64(), metadata=MAY_BE_ABSENT),
]
TRAINING_LOG = _schema(["checkpoint"], ["step"], ["loss", "learning_rate", "tokens_per_second", "seconds"])
DEV_CURVES = [*TRAINING_LOG[:2], pa.field("dev_error_rate", pa.float64()), pa.field("dev_loss", pa.float64())]

# Each check is a query over `staged` (the files' rows, with the column `file`) that returns faults:
# file, what was found, how often, and an example.
_REPEATED = (
    "SELECT file, 'rows repeat another''s {name}', count(*), min(example) FROM "
    "(SELECT max(file) AS file, min({name}) AS example FROM staged GROUP BY {key} HAVING count(*) > 1) "
    "GROUP BY file"
)
_MANIFEST_CHECKS = (
    _REPEATED.format(name="utterance_id", key="split, utterance_id"),
    "SELECT file, 'utterances of a group that the languages table lacks', count(*), min(grp) "
    "FROM staged ANTI JOIN groups USING (grp) GROUP BY file",
)
HYPOTHESES_CHECKS = (
    _REPEATED.format(name="utterance_id", key="system, split, utterance_id"),
    "SELECT file, 'utterances that the manifest lacks', count(*), min(utterance_id) "
    "FROM staged ANTI JOIN utterances USING (split, utterance_id) GROUP BY file",
    "SELECT file, 'rows whose stop_reason is not end, length or malformed', count(*), min(stop_reason) "
    "FROM staged WHERE stop_reason NOT IN ('end', 'length', 'malformed') GROUP BY file",
)
_COUNTS_CHECKS = (
    _REPEATED.format(name="utterance_id", key="system, split, protocol, utterance_id"),
    "SELECT file, 'rows of a system that the config does not decode', count(*), min(system) "
    "FROM staged ANTI JOIN systems USING (system) GROUP BY file",
    "SELECT file, 'utterances that the manifest of ' || split || ' lacks', count(*), min(utterance_id) "
    "FROM staged ANTI JOIN utterances USING (split, utterance_id) GROUP BY file, split",
    "SELECT file, 'utterances of ' || split || ' without counts', count(*), min(u.utterance_id) "
    "FROM (SELECT DISTINCT file, system, split, protocol FROM staged) AS run JOIN utterances AS u USING (split) "
    "ANTI JOIN staged USING (file, system, split, protocol, utterance_id) GROUP BY file, split",
    "SELECT file, 'utterances of another session or group than in the manifest', count(*), min(utterance_id) "
    "FROM staged JOIN utterances AS u USING (split, utterance_id) "
    "WHERE staged.session_id <> u.session_id OR staged.grp <> u.grp GROUP BY file",
    "SELECT file, 'rows whose errors are not insertions + deletions + substitutions, or negative', count(*), "
    "min(utterance_id) FROM staged WHERE errors <> insertions + deletions + substitutions "
    "OR least(length, insertions, deletions, substitutions) < 0 GROUP BY file",
    "SELECT shorter, 'utterances with fewer reference tokens than in ' || longer, count(*), min(utterance_id) FROM "
    "(SELECT min_by(file, length) AS shorter, max_by(file, length) AS longer, utterance_id FROM staged "
    "GROUP BY split, protocol, utterance_id HAVING min(length) <> max(length)) GROUP BY shorter, longer",
)
_ORACLES_CHECKS = (
    _REPEATED.format(name="utterance_id", key="system, split, protocol, utterance_id, candidates"),
    "SELECT file, 'utterances of ' || split || ' without counts under ' || protocol, count(*), min(utterance_id) "
    "FROM staged ANTI JOIN asr_counts USING (system, split, protocol, utterance_id) GROUP BY file, split, protocol",
    "SELECT file, 'utterances whose best candidate is worse than the one that was chosen', count(*), min(utterance_id) "
    "FROM (SELECT any_value(file) AS file, system, split, protocol, utterance_id, min(staged.errors) AS least, "
    "any_value(staged.length) AS tokens FROM staged GROUP BY system, split, protocol, utterance_id) AS s "
    "JOIN asr_counts AS c USING (system, split, protocol, utterance_id) "
    "WHERE c.errors < s.least OR c.length <> s.tokens GROUP BY file",
)
_REFLECTIONS_CHECKS = (
    _REPEATED.format(name="utterance_id", key="system, split, protocol, utterance_id"),
    "SELECT file, 'reflections on utterances of ' || split || ' that have no counts under ' || protocol, count(*), "
    "min(utterance_id) FROM staged ANTI JOIN asr_counts USING (system, split, protocol, utterance_id) "
    "GROUP BY file, split, protocol",
    "SELECT file, 'rows with other final_errors or length than the counts', count(*), min(utterance_id) "
    "FROM staged JOIN asr_counts AS c USING (system, split, protocol, utterance_id) "
    "WHERE staged.final_errors <> c.errors OR staged.length <> c.length GROUP BY file",
    "SELECT file, 'rows with more right errors than named or true ones', count(*), min(utterance_id) FROM staged "
    "WHERE named_right > least(named_substitutions + named_insertions + named_deletions, "
    "true_substitutions + true_insertions + true_deletions) GROUP BY file",
)
# Turns without words have no word errors, and external transcripts no oracle: see the check of nulls.
_MAY_BE_NULL = frozenset(DIARIZATION_COUNTS_SCHEMA.names[DIARIZATION_COUNTS_SCHEMA.names.index("tcp_errors") :])
_DIARIZATION_CHECKS = (
    _REPEATED.format(name="recording", key="system, split, protocol, recording"),
    "SELECT file, 'rows of a diarizer that the config lacks', count(*), min(staged.system) "
    "FROM staged ANTI JOIN diarizers ON diarizer = staged.system GROUP BY file",
    "SELECT file, 'rows without counts of words or of the oracle', count(*), min(recording) FROM staged "
    "JOIN diarizers ON diarizer = staged.system AND source IS NULL WHERE tcp_errors + oracle_errors IS NULL "
    "GROUP BY file",
    "SELECT file, 'recordings that are no sessions of the manifest of ' || s.split, count(*), min(recording) "
    "FROM staged AS s ANTI JOIN utterances AS u ON u.split = s.split AND u.session_id = recording AND u.grp = s.grp "
    "GROUP BY file, s.split",
    "SELECT u.file, 'sessions of ' || u.split || ' without counts', count(*), min(session_id) "
    "FROM (SELECT DISTINCT file, system, split, protocol, session_id FROM staged JOIN utterances USING (split)) AS u "
    "ANTI JOIN staged AS s ON s.file = u.file AND s.system = u.system AND s.split = u.split "
    "AND s.protocol = u.protocol AND s.recording = u.session_id GROUP BY u.file, u.split",
    "SELECT file, 'rows whose tcp_errors are not the sum of their kinds or of their causes, or negative', count(*), "
    "min(recording) FROM staged WHERE tcp_errors <> tcp_insertions + tcp_deletions + tcp_substitutions "
    "OR tcp_errors <> timing_errors + confusion_errors + missed_errors + false_alarm_errors + recognition_errors "
    "OR least(tcp_length, tcp_insertions, tcp_deletions, tcp_substitutions, timing_errors, confusion_errors, "
    "missed_errors, false_alarm_errors, recognition_errors) < 0 "
    "OR least(scored_speech, missed, false_alarm, confusion) < 0 "
    "GROUP BY file",
    "SELECT file, 'recordings with other oracle_errors than the system that transcribed has', count(*), min(recording) "
    "FROM staged JOIN diarizers ON diarizer = staged.system JOIN (SELECT system, split, protocol, session_id, "
    "sum(errors) AS errors FROM asr_counts GROUP BY ALL) AS c ON c.system = diarizers.system "
    "AND c.split = staged.split AND c.protocol = staged.protocol AND c.session_id = recording "
    "WHERE c.errors <> oracle_errors GROUP BY file",
    "SELECT shorter, 'recordings with less reference than in ' || longer, count(*), min(recording) FROM "
    "(SELECT min_by(file, row(tcp_length, scored_speech)) AS shorter, max_by(file, row(tcp_length, scored_speech)) "
    "AS longer, recording FROM staged "
    "GROUP BY split, protocol, recording HAVING min(tcp_length) <> max(tcp_length) "
    "OR max(scored_speech) - min(scored_speech) > 0.001) GROUP BY shorter, longer",
)
SEGMENTS_CHECKS = (
    "SELECT file, 'segments of recordings that are no sessions of the manifest of ' || s.split, count(*), "
    "min(recording) FROM staged AS s ANTI JOIN utterances AS u ON u.split = s.split AND u.session_id = recording "
    "GROUP BY file, s.split",
)


def load_manifests(connection: duckdb.DuckDBPyConnection, manifests: Mapping[str, Path]) -> None:
    """Fill `utterances` from the manifest of each split. Raises FaultyInput for repeated ids and unknown groups."""
    staged = stage_files((path, {"split": split}, [*MANIFEST_SCHEMA]) for split, path in manifests.items())
    insert_checked(connection, "utterances", staged, _MANIFEST_CHECKS)


def load_hypotheses(connection: duckdb.DuckDBPyConnection, paths: Mapping[tuple[str, str], Path]) -> None:
    """Fill `hypotheses` from the file of each system and split.

    Raises FaultyInput for repeated ids and for utterances that no manifest has.
    """
    staged = stage_files(
        (path, {"system": system, "split": split}, HYPOTHESES) for (system, split), path in paths.items()
    )
    insert_checked(connection, "hypotheses", staged, HYPOTHESES_CHECKS)


def load_counts(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Fill `asr_counts`. Each file's system, split and protocol must hold exactly the manifest's utterances.

    Raises FaultyInput for counts that do not add up, or that do not agree with the manifest or with each other.
    """
    insert_checked(
        connection, "asr_counts", stage_files((path, {}, _required(COUNTS_SCHEMA)) for path in paths), _COUNTS_CHECKS
    )


def load_reflections(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Fill `reflections`, after `asr_counts`. Raises FaultyInput where the two do not agree."""
    staged = stage_files((path, {}, _required(REFLECTIONS_SCHEMA)) for path in paths)
    insert_checked(connection, "reflections", staged, _REFLECTIONS_CHECKS)


def load_oracles(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Fill `oracles`, after `asr_counts`. Raises FaultyInput where an oracle has more errors than what was chosen."""
    staged = stage_files((path, {}, _required(ORACLES_SCHEMA)) for path in paths)
    insert_checked(connection, "oracles", staged, _ORACLES_CHECKS)


def load_stage_costs(connection: duckdb.DuckDBPyConnection, path: Path | None, stages: Collection[str]) -> None:
    """Fill `stage_costs` with those of `stages`, from a file that may have others."""
    if path is not None:
        insert_checked(connection, "stage_costs", stage_files([(path, {}, STAGE_COSTS)]), ())
        connection.execute("DELETE FROM stage_costs WHERE NOT list_contains(?, checkpoint)", [list(stages)])


def load_diarization(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Fill `diarization_counts`. Each file's diarizer, split and protocol must hold exactly the manifest's sessions.

    Raises FaultyInput for counts that do not add up, or that do not agree with the manifest or with each other.
    """
    fields = [field.with_nullable(field.name in _MAY_BE_NULL) for field in DIARIZATION_COUNTS_SCHEMA]
    staged = stage_files((path, {}, fields) for path in paths)
    insert_checked(connection, "diarization_counts", staged, _DIARIZATION_CHECKS)


def load_segments(connection: duckdb.DuckDBPyConnection, paths: Mapping[tuple[str, str], Path]) -> None:
    """Fill `diarized_segments` from the file of each diarizer and split.

    Raises FaultyInput for recordings that the manifest lacks.
    """
    files = ((path, {"system": diarizer, "split": split}, SEGMENTS) for (diarizer, split), path in paths.items())
    insert_checked(connection, "diarized_segments", stage_files(files), SEGMENTS_CHECKS)


def load_stretch_answers(connection: duckdb.DuckDBPyConnection, paths: Mapping[tuple[str, str], Path]) -> None:
    """Fill `stretch_answers` from the file of each diarizer and split whose answers say who speaks when.

    Raises FaultyInput for recordings that the manifest lacks.
    """
    files = ((path, {"system": diarizer, "split": split}, STRETCHES) for (diarizer, split), path in paths.items())
    insert_checked(connection, "stretch_answers", stage_files(files), SEGMENTS_CHECKS)


def load_training_logs(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Fill `training_log`. Raises FaultyInput for a step that is logged twice."""
    checks = (_REPEATED.format(name="step", key="checkpoint, step"),)
    insert_checked(connection, "training_log", stage_files((path, {}, TRAINING_LOG) for path in paths), checks)


def load_dev_curves(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Fill `dev_curves` from the logs of stages that measured themselves while they trained."""
    measured = [path for path in paths if "dev_error_rate" in pq.read_schema(path).names]
    if measured:
        connection.register("staged", pa.concat_tables(read_parquet(path, DEV_CURVES) for path in measured))
        connection.execute("INSERT INTO dev_curves BY NAME SELECT * FROM staged WHERE dev_error_rate IS NOT NULL")
        connection.unregister("staged")


def load_reinforcement_logs(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> None:
    """Fill `reinforcement_log` with the columns beyond those of other stages' logs: one row per step and column.

    Raises UserError for a column that does not hold numbers.
    """
    usual = {field.name for field in (*TRAINING_LOG, *DEV_CURVES)}
    for path in paths:
        if names := [name for name in pq.read_schema(path).names if name not in usual]:
            fields = [*TRAINING_LOG[:2], *(pa.field(name, pa.float64()) for name in names)]
            connection.register("staged", read_parquet(path, fields))
            connection.execute(
                "INSERT INTO reinforcement_log UNPIVOT staged ON COLUMNS(* EXCLUDE (checkpoint, step)) "
                "INTO NAME name VALUE value"
            )
            connection.unregister("staged")


def read_parquet(path: Path, fields: Sequence[pa.Field]) -> pa.Table:
    """The columns `fields` of a Parquet file, cast to their types; nulls for an optional column that is absent.

    Raises UserError for a missing file, one that is not Parquet, missing columns, other types, and nulls where a field
    allows none.
    """
    table = read_table(path)
    found = table.column_names
    lacking = [field for field in fields if field.name not in found]
    if missing := [field.name for field in lacking if field.metadata is None]:
        raise UserError(f"{path}: found the columns {', '.join(found)}; missing {', '.join(missing)}; {REMAKE}.")
    for field in lacking:
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    for field in fields:
        if not field.nullable and (nulls := table[field.name].null_count):
            raise UserError(f"{path}: found {nulls} empty values in column {field.name}; expected none; {REMAKE}.")
    try:
        return table.select([field.name for field in fields]).cast(pa.schema(fields))
    except (pa.ArrowException, ValueError) as error:
        raise UserError(f"{path}: not a Parquet file of the expected types ({error}); {REMAKE}.") from None


def stage_files(files: Iterable[tuple[Path, Mapping[str, str], Sequence[pa.Field]]]) -> pa.Table | None:
    """Rows of all files, with the column `file` and the constant columns given with each path; None without files."""
    tables = []
    for path, constants, fields in files:
        table = read_parquet(path, fields)
        for name, value in {**constants, "file": str(path)}.items():
            table = table.append_column(name, pa.repeat(value, table.num_rows))
        tables.append(table)
    return pa.concat_tables(tables) if tables else None


def insert_checked(
    connection: duckdb.DuckDBPyConnection, table: str, staged: pa.Table | None, checks: Sequence[str]
) -> None:
    """Add the rows of `stage_files` to a table; raises FaultyInput if any of `checks`, queries for faults, has rows."""
    if staged is None:
        return
    connection.register("staged", staged)
    faults = [
        f"{file}: {count} {found}, e.g. {example}"
        for check in checks
        for file, found, count, example in connection.execute(f"{check} ORDER BY ALL LIMIT 20").fetchall()
    ]
    if faults:
        raise FaultyInput(f"The files behind {table} do not agree; rebuild those at fault:", faults)
    connection.execute(f"INSERT INTO {table} BY NAME SELECT * EXCLUDE (file) FROM staged")
    connection.unregister("staged")
