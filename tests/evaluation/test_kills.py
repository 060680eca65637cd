"""Commands killed at random moments: each thing that stood before is as it was, or is its new version, complete.

`MLCSLM_KILLS=100 python -m pytest tests/evaluation/test_kills.py -s` kills that many times and says where it hit.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from mlcslm.config.languages import read_languages
from mlcslm.corpus.layout import Utterance, write_session
from mlcslm.corpus.manifest import read_manifest
from mlcslm.io.places import MARKER
from mlcslm.results.evaluate_external import join_results

sys.path.insert(0, str(Path(__file__).parents[1]))  # --import-mode=importlib finds nothing beside a conftest
from forked import program

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))
import toy_inputs as toy

sys.path.pop(0)

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MLCSLM_KILLS", "6"))
MAIN = "from mlcslm.cli import main; main()"
TABLE = """
import sys
from pathlib import Path
from mlcslm.config.reading import read_config
from mlcslm.results.averages import write_averages
from mlcslm.results.database import collect_database
from mlcslm.workflow.layout import Layout

config = read_config(sys.argv[1])
tables = Path(config.results) / "tables"
write_averages(collect_database(config, Layout(config)), "wer", tables / "wer.csv", tables / "wer.md")
"""


@dataclass(frozen=True)
class Command:
    """What to run, in two versions, which write different content, and readers of the pieces that it replaces.

    A reader raises if its piece is incomplete.
    """

    program: Path
    versions: list[list[str]]
    pieces: dict[str, Callable[[], Any]]


def _whole_folder(folder: Path) -> dict[str, str]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    known = json.loads(found.pop(MARKER).read_text(encoding="utf-8"))["files"]
    assert known == {name: path.stat().st_size for name, path in found.items()}
    return {name: sha256(path.read_bytes()).hexdigest() for name, path in found.items()}


def _systems(database: Path) -> list[Any]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute("SELECT system, sum(errors) FROM session_errors GROUP BY ALL ORDER BY ALL").fetchall()


def _corpus(folder: Path, words: str) -> Path:
    french = read_languages(toy.ROOT / "config" / "languages.tsv")["French"]
    spoken = [Utterance("O1", 0.1, 0.5, words), Utterance("O2", 0.4, 1.9, "Salut !")]
    for number in range(20):
        write_session(folder, french, f"{number:04}", np.zeros(32000), 16000, spoken)
    return folder


def _commands(workspace: Any, root: Path) -> dict[str, Command]:
    out, results = root / "out", workspace.root / "results"
    languages = ["--languages", str(toy.ROOT / "config" / "languages.tsv")]
    database = toy.make_inputs(root / "toy").build()
    given = ["--configfile", str(workspace.configfile)]
    theirs, tables = workspace.layout.external("theirs", "dev"), results / "tables"
    main, table = root / "main.py", root / "table.py"
    main.write_text(MAIN, encoding="utf-8")
    table.write_text(TABLE, encoding="utf-8")
    versions = []
    for words in ("ça va", "ça va hein"):
        corpus, listed = _corpus(root / "corpora" / words, words), root / f"{words}.parquet"
        _run(main, ["manifest", str(corpus), "--out", str(listed), *languages])
        heard = workspace.write(f"{words}.txt", f"French-0001_001-O1-000050-000200 {words}\n")
        built = ["report", "--database", str(database), "--out", str(out / "www"), "--no-audio"]
        versions.append(
            {
                "manifest": ["manifest", str(corpus), "--out", str(out / "dev.parquet"), "--stats", *languages],
                "kaldi": ["convert", str(listed), str(out / "kaldi"), "--to", "kaldi", *languages],
                "lhotse": ["convert", str(listed), str(out / "lhotse"), "--to", "lhotse", *languages],
                "evaluate": ["evaluate", *given, "--name", "theirs", str(heard)],
                "table": [str(workspace.configfile)],  # differs by what evaluate has added
                "report": [*built, "--no-published" if versions else "--published"],
            }
        )
    written: dict[str, dict[str, Callable[[], Any]]] = {
        "manifest": {
            "manifest": lambda: read_manifest(out / "dev.parquet").to_pylist(),
            "statistics": lambda: json.loads((out / "dev.parquet.stats.json").read_text(encoding="utf-8")),
        },
        "kaldi": {"data folder": lambda: _whole_folder(out / "kaldi")},
        "lhotse": {"Lhotse's manifests": lambda: _whole_folder(out / "lhotse")},
        "evaluate": {
            "database": lambda: _systems(results / "results.duckdb"),
            "system": lambda: {path.name: pq.read_table(path).to_pylist() for path in theirs.glob("*.parquet")},
        },
        "table": {
            "table": lambda: (tables / "wer.csv").read_bytes(),
            "page": lambda: (tables / "wer.md").read_bytes(),
        },
        "report": {"report": lambda: _whole_folder(out / "www")},
    }
    return {
        name: Command(table if name == "table" else main, [one[name] for one in versions], pieces)
        for name, pieces in written.items()
    }


def _own_files(*folders: Path) -> dict[Path, bytes]:
    """Files of the user's own, beside everything that is written."""
    own = {
        folder / name: str(folder).encode() for folder in folders for name in ("notes.txt", ".x.tmp", "dev.parquet~")
    }
    for path, content in own.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return own


def _start(script: Path, arguments: list[str]) -> Any:
    """A process that has imported what is slow to import: it may be killed wherever the command is."""
    process = program(script, *arguments, out=Path(os.devnull), err=script.with_suffix(".err"))
    process.start()
    return process


def _ended(process: Any, script: Path, *statuses: int) -> int:
    process.join()
    assert process.exitcode in statuses, script.with_suffix(".err").read_text(encoding="utf-8")
    return process.exitcode


def _run(script: Path, arguments: list[str]) -> float:
    """Run to the end; return the seconds that it took."""
    begun = time.monotonic()
    _ended(_start(script, arguments), script, 0)
    return time.monotonic() - begun


def _killed(script: Path, arguments: list[str], after: float) -> bool:
    """Whether the command was still running after so many seconds; then it and its children are killed."""
    process = _start(script, arguments)
    time.sleep(after)
    if process.is_alive():
        with contextlib.suppress(ProcessLookupError):  # that has not begun its session yet
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    return _ended(process, script, 0, -signal.SIGKILL) < 0


def test_what_stood_before_a_kill_still_stands(workspace: Any, tmp_path: Path) -> None:
    first = workspace.write("first.txt", "Thai-0001_002-O2-000100-000200 ok\n")
    join_results(workspace.config, workspace.layout, workspace.request(first))
    commands = _commands(workspace, tmp_path)
    results = workspace.root / "results"
    own = _own_files(tmp_path / "out", results, results / "tables", tmp_path / "corpora")
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    complete: dict[str, list[Any]] = {}
    for version in (0, 1):
        for name, command in commands.items():
            seconds[name].append(_run(command.program, command.versions[version]))
            for piece, read in command.pieces.items():
                complete.setdefault(piece, []).append(read())
    assert all(old != new for old, new in complete.values())

    rng, hits = random.Random(15), Counter[str]()
    kills, left = dict.fromkeys(commands, 0), set[Path]()
    while sum(kills.values()) < KILLS:
        name = min(kills, key=lambda one: kills[one])
        command, version = commands[name], rng.randrange(2)
        # Loading takes most of the time: every other kill is in the second half.
        moment = rng.uniform(0.5 * (kills[name] % 2), 1.0) * statistics.mean(seconds[name])
        if not _killed(command.program, command.versions[version], moment):
            hits["ended before"] += 1
            continue
        kills[name] += 1
        left, before = {path for path in tmp_path.rglob(".?*.tmp*") if path not in own}, left
        hits["while writing"] += bool(left - before)
        for other in commands.values():
            for piece, read in other.pieces.items():
                assert read() in complete[piece], f"{piece} after {name}, killed after {moment:.2f} s"
        assert {path: path.read_bytes() for path in own} == own
    print(kills, dict(hits), {name: f"{statistics.mean(values):.1f} s" for name, values in seconds.items()})

    for version in (0, 1):  # what is left over hinders nobody, and is tidied up
        for command in commands.values():
            _run(command.program, command.versions[version])
            for piece, read in command.pieces.items():
                assert read() == complete[piece][version]
    assert {path: path.read_bytes() for path in own} == own
    assert not [path for path in tmp_path.rglob(".?*.tmp*") if path not in own]
