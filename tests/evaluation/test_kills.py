"""Commands killed at random moments: either the old results are still intact, or the new ones are complete.

`MLCSLM_KILLS=100 python -m pytest tests/evaluation/test_kills.py -s` kills that many times and says where it hit.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from mlcslm.config.languages import read_languages
from mlcslm.corpus.layout import Utterance, write_session
from mlcslm.corpus.manifest import read_manifest
from mlcslm.io.places import MARKER
from mlcslm.results.evaluate_external import join_results

sys.path.insert(0, str(Path(__file__).parents[1] / "results"))
import toy_inputs as toy

sys.path.pop(0)

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("MLCSLM_KILLS", "5"))
MAIN = "import sys; from mlcslm.cli import main; main()"
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
    """What to run, and a function that reads what is left, and raises if files are incomplete."""

    program: str
    arguments: list[str]
    state: Callable[[], Any]


def _whole_folder(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    known = json.loads(found.pop(MARKER).read_text(encoding="utf-8"))["files"]
    assert known == {name: path.stat().st_size for name, path in found.items()}
    return {name: path.read_bytes() for name, path in found.items()}


def _systems(database: Path) -> list[Any]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute("SELECT system, sum(errors) FROM session_errors GROUP BY ALL ORDER BY ALL").fetchall()


def _commands(workspace: Any, root: Path) -> dict[str, Command]:
    corpus, out = root / "corpus", root / "out"
    languages_table = toy.ROOT / "config" / "languages.tsv"
    spoken = [Utterance("O1", 0.1, 0.5, "Bonjour."), Utterance("O2", 0.4, 1.9, "Salut !")]
    for number in range(20):
        write_session(corpus, read_languages(languages_table)["French"], f"{number:04}", np.zeros(32000), 16000, spoken)
    database = toy.make_inputs(root / "toy").build()
    manifest, data = out / "dev.parquet", out / "data"
    external = workspace.write("h.txt", "French-0001_001-O1-000050-000200 ça va\n")
    joined, tables = workspace.root / "results" / "results.duckdb", workspace.root / "results" / "tables"
    given = ["evaluate", "--configfile", str(workspace.configfile), "--name", "theirs", str(external)]
    build = ["report", "--database", str(database), "--out", str(out / "www"), "--no-audio"]
    convert = ["convert", str(manifest), str(data), "--to", "kaldi", "--languages", str(languages_table)]
    return {
        "manifest": Command(
            MAIN,
            ["manifest", str(corpus), "--out", str(manifest), "--languages", str(languages_table)],
            lambda: read_manifest(manifest).to_pylist(),
        ),
        "convert": Command(MAIN, convert, lambda: _whole_folder(data)),
        "evaluate": Command(
            MAIN, given, lambda: (_systems(joined), (workspace.layout.external("theirs", "dev")).exists())
        ),
        "report": Command(MAIN, build, lambda: sorted(_whole_folder(out / "www"))),
        "table": Command(
            TABLE,
            [str(workspace.configfile)],
            lambda: (_systems(joined), *((tables / f"wer.{end}").read_bytes() for end in ("csv", "md"))),
        ),
    }


def _start(command: Command) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-c", command.program, *command.arguments]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def test_what_stood_before_a_kill_still_stands(workspace: Any, tmp_path: Path) -> None:
    first = workspace.write("first.txt", "Thai-0001_002-O2-000100-000200 ok\n")
    join_results(workspace.config, workspace.layout, workspace.request(first))
    commands = _commands(workspace, tmp_path)
    seconds, whole = {}, {}
    for name, command in commands.items():
        begun = time.monotonic()
        process = _start(command)
        _, said = process.communicate()
        assert process.returncode == 0, said.decode()
        seconds[name], whole[name] = time.monotonic() - begun, command.state()
    whole["evaluate"] = commands["evaluate"].state()
    rng, hits = random.Random(15), Counter[str]()
    for kill in range(KILLS):
        name = list(commands)[kill % len(commands)]
        process = _start(commands[name])
        time.sleep(rng.uniform(0.3, 1.05) * seconds[name])
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode in (0, -signal.SIGKILL), name
        hits[f"{name} {'killed' if process.returncode < 0 else 'had ended'}"] += 1
        left = [path for path in tmp_path.rglob(".*.tmp")]
        hits["writing"] += bool(left and process.returncode < 0)
        assert commands[name].state() == whole[name], f"{name}, kill {kill}"
    print(dict(hits))
    for name, command in commands.items():  # and what is left over hinders nobody, and is tidied up
        process = _start(command)
        assert process.wait() == 0, name
    assert not list(tmp_path.rglob(".*.tmp*"))
