"""Time to build the report at full size, and how fast its error browser responds in Chromium.

Utterances have the ids and lengths of a real set and made-up texts; systems answer with known error rates, some with
reasoning, some with repetition loops. benchmarks/README.md says how to run it, docs/report.md has the results.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import platform
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from report_browser import measure_browser

from mlcslm.config.languages import Group, group_of_utterance, read_languages
from mlcslm.corpus.manifest import SCHEMA as MANIFEST_SCHEMA
from mlcslm.errors import UserError
from mlcslm.io.files import write_json
from mlcslm.report.build import build_report
from mlcslm.results.database import SystemRow, build_database
from mlcslm.results.loading import HYPOTHESES
from mlcslm.scoring.wer import align_counts
from mlcslm.scoring.wer_counts import COUNTS_SCHEMA

ROOT = Path(__file__).parents[1]
LANGUAGES, TABLES = ROOT / "config" / "languages.tsv", ROOT / "config" / "tables.yaml"
# The range that a language's characters are drawn from; other languages have words of Latin letters.
CHARACTERS = {"Japanese": (0x3041, 0x3093), "Korean": (0xAC00, 0xD7A3), "Thai": (0x0E01, 0x0E2E)}
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=Path, help="CSV, plain or .gz: group,utterance_id,length")
    parser.add_argument("--count", type=int, help="use only this many utterances")
    parser.add_argument("--systems", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3, help="how often to open the pages")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep database and report here; default: delete them")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / "report.json")
    options = parser.parse_args(arguments)
    try:
        if options.folder is not None and options.folder.exists() and any(options.folder.iterdir()):
            raise UserError(f"{options.folder}: is not empty. Name a new folder.")
        folder = options.folder or Path(tempfile.mkdtemp())
        try:
            found = run(options, folder)
        finally:
            if options.folder is None:
                shutil.rmtree(folder)
        write_json(options.out, found)
    except UserError as error:
        print(f"report: {error}", file=sys.stderr)
        sys.exit(1)
    for name, value in found.items():
        print(f"{name}: {value}")


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the database, build and open its report; returns the measurements."""
    groups = read_languages(LANGUAGES)
    manifest = list(read_manifest(options.utterances, groups, random.Random(options.seed)))[: options.count]
    database = make_database(folder, manifest, groups, options.systems, options.seed)
    report = folder / "report"
    seconds = time.perf_counter(), time.process_time()
    build_report(database, report, audio=False)
    files = [path for path in report.rglob("*") if path.is_file()]
    return {
        "utterances": len(manifest),
        "systems": options.systems,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "build_seconds": round(time.perf_counter() - seconds[0], 1),
        "build_cpu_seconds": round(time.process_time() - seconds[1], 1),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "files": len(files),
        "megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 1),
        **measure_browser(report, options.rounds),
    }


def read_manifest(path: Path | None, groups: Mapping[str, Group], rng: random.Random) -> Iterator[dict[str, Any]]:
    """Manifest rows with made-up texts; ids and lengths are the file's, or made up for 29,952 utterances."""
    turns: dict[str, int] = {}
    for utterance_id, length in _read(path) if path else _made_up(groups, rng):
        group = groups[group_of_utterance(utterance_id, dict(groups))]
        session, speaker, start, end = utterance_id.removeprefix(f"{group.group}-").rsplit("-", 3)
        recording = f"{group.recording_prefix}_{session}"
        turns[recording] = turns.get(recording, -1) + 1
        yield {
            "utterance_id": utterance_id,
            "session_id": recording,
            "grp": group.group,
            "speaker": speaker,
            "turn": turns[recording],
            "start": int(start) / 100,
            "end": int(end) / 100,
            "audio": f"{recording}.wav",
            "sample_rate": 16000,
            "text": join(group, [unit(group, rng) for _ in range(length)]),
        }


def _read(path: Path) -> Iterator[tuple[str, int]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Expected a CSV with columns group,utterance_id,length.")
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield row["utterance_id"], int(row["length"])


def _made_up(groups: Mapping[str, Group], rng: random.Random) -> Iterator[tuple[str, int]]:
    """29,952 ids, in eight sessions per group."""
    each = 29_952 // (8 * len(groups))
    for group in groups:
        for session in range(8):
            for number in range(each):
                times = f"{400 * number:06d}-{400 * number + 380:06d}"
                yield f"{group}-{session:04d}_001-O{1 + number % 2}-{times}", rng.randint(1, 20)


def unit(group: Group, rng: random.Random) -> str:
    """A made-up word, or character."""
    if group.unit == "character":
        first, last = CHARACTERS.get(group.group, CHARACTERS["Japanese"])
        return chr(rng.randint(first, last))
    return "".join(rng.choices(SYLLABLES, k=rng.randint(1, 3)))


def join(group: Group, units: Sequence[str]) -> str:
    """Join units to a text."""
    return ("" if group.unit == "character" else " ").join(units)


def answer(group: Group, units: Sequence[str], rate: float, rng: random.Random) -> list[str]:
    """A system's answer to `units` at this error rate; one in 500 ends in a repetition loop."""
    heard: list[str] = []
    for one in units:
        fate = rng.random() / rate
        heard += (
            [] if fate < 0.25 else [unit(group, rng)] if fate < 0.8 else [one, unit(group, rng)] if fate < 1 else [one]
        )
    return heard + [unit(group, rng)] * 80 if rng.random() < 0.002 else heard


def make_database(
    folder: Path, manifest: Sequence[dict[str, Any]], groups: Mapping[str, Group], systems: int, seed: int
) -> Path:
    """`results.duckdb` with these utterances and `systems` systems, the second half with reasoning."""
    rng = random.Random(seed)
    manifests = {"dev": _write(folder / "manifests/dev.parquet", manifest, MANIFEST_SCHEMA)}
    rows = [SystemRow(f"system-{number}", "greedy") for number in range(systems)]
    hypotheses: dict[tuple[str, str], Path] = {}
    scores = []
    for number, row in enumerate(rows):
        answers, counts = _answers(row.system, manifest, groups, 0.1 + 0.03 * number, number >= systems / 2, rng)
        file = _write(folder / f"hypotheses/{row.system}/dev.parquet", answers, pa.schema(HYPOTHESES))
        hypotheses[row.system, "dev"] = file
        scores.append(_write(folder / f"scores/{row.system}/dev.parquet", counts, COUNTS_SCHEMA))
    stage = {"parent": "foundation", "trains": ["projector"], "template": "plain", "steps": 1}
    config = {
        "models": {"encoder": "made up", "language_model": "made up"},
        "stages": {row.checkpoint: stage for row in rows},
        "decodings": {"greedy": {}},
        "scoring": {"bootstrap_samples": 100},
    }
    out = folder / "results.duckdb"
    build_database(
        out,
        preset="benchmark",
        config=config,
        manifests=manifests,
        hypotheses=hypotheses,
        scores=scores,
        reflections=[],
        training_logs=[],
        diarization=[],
        segments={},
        tables=TABLES,
        languages=LANGUAGES,
        systems=rows,
    )
    return out


def _answers(
    system: str,
    manifest: Sequence[dict[str, Any]],
    groups: Mapping[str, Group],
    rate: float,
    thinks: bool,
    rng: random.Random,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    answers, counts = [], []
    for row in manifest:
        group = groups[row["grp"]]
        units = list(row["text"]) if group.unit == "character" else row["text"].split()
        heard = answer(group, units, rate, rng)
        text, found = join(group, heard), align_counts(units, heard)
        think = f"The speech sounds like: {text}, but it might have some errors: none, let me correct it."
        raw = f"{group.token}{f'<think> {think}</think>' if thinks else ''}<transcribe> {text}</transcribe>"
        stop, loop = ("length", True) if len(heard) > 79 else ("end", False)
        answers.append(
            {
                **{"utterance_id": row["utterance_id"], "raw_text": raw, "language": group.token, "transcript": text},
                **{"think": think if thinks else None, "tokens": 2 * len(heard), "audio_tokens": 40},
                **{"stop_reason": stop, "loop": loop, "seconds": 0.05},
            }
        )
        counts.append(
            {
                **{"system": system, "split": "dev", "protocol": "mlcslm-2025"},
                **{name: row[name] for name in ("utterance_id", "session_id", "grp")},
                **{
                    name: getattr(found, name)
                    for name in ("length", "errors", "insertions", "deletions", "substitutions")
                },
            }
        )
    return answers, counts


def _write(path: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
    return path


if __name__ == "__main__":
    main()
