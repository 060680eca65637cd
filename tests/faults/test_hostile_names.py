"""A corpus of names and transcripts that mean something to shells, databases, spreadsheets and browsers: just data."""

from __future__ import annotations

import csv
from pathlib import Path

import duckdb
import numpy as np
import pytest
from toy_runs import SECRET, Toy

from mlcslm.config.languages import read_languages
from mlcslm.corpus.layout import Utterance, write_session

pytestmark = pytest.mark.slow

SESSIONS = {"train": ("; rm -rf x", "$(touch ran)"), "dev": ("; rm -rf x", "=1+1"), "test": ("`touch ran`", "<b>")}
TEXTS = ("'; DROP TABLE utterances; --", "<script>alert(1)</script>", '=HYPERLINK("http://example.org")', "; rm -rf x")


@pytest.fixture(scope="module")
def hostile(undisturbed: Toy, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A run on such a corpus, in a folder with such a name, which has a file `x` in it."""
    root = tmp_path_factory.mktemp("hostile") / "; rm -rf x; $(touch ran)"
    languages = read_languages(undisturbed.root / "languages.tsv")
    rng = np.random.default_rng(0)
    for split, names in SESSIONS.items():
        for group, name in zip(languages.values(), names, strict=True):
            utterances = [Utterance(f"O{n % 2 + 1}", n, n + 0.8, text) for n, text in enumerate(TEXTS)]
            write_session(root / "own" / split, group, name, rng.normal(0, 0.1, 80_000), 16_000, utterances)
    toy = undisturbed.with_inputs(root).changed(
        corpus={"kind": "folder", "folders": {split: f"own/{split}" for split in SESSIONS}},
        augmentation={"probability": 0},
    )
    (root / "x").touch()
    assert toy.run() == 0, toy.output
    return toy


def test_names_are_names(hostile: Toy) -> None:
    assert (hostile.root / "x").exists()
    assert not [path for path in hostile.root.parent.rglob("*") if path.name == "ran"]
    with duckdb.connect(hostile.results / "results.duckdb", read_only=True) as database:
        found = database.execute("SELECT DISTINCT split, session_id FROM utterances ORDER BY ALL").fetchall()
        texts = database.execute("SELECT DISTINCT text FROM utterances ORDER BY ALL").fetchall()
        scored = database.execute("SELECT count(*) FROM asr_counts WHERE system = 'ckpt-10000/greedy'").fetchall()
    assert found == [
        ("dev", "French_;%20rm%20-rf%20x"),
        ("dev", "Thai_=1+1"),
        ("test", "French_`touch%20ran`"),
        ("test", "Thai_<b>"),
        ("train", "French_;%20rm%20-rf%20x"),
        ("train", "Thai_$(touch%20ran)"),
    ]
    assert {text for (text,) in texts} == set(TEXTS)
    assert scored == [(16,)]


def test_the_table_is_whole(hostile: Toy, undisturbed: Toy) -> None:
    rows, others = (
        list(csv.DictReader((toy.results / "tables" / "table6.csv").open())) for toy in (hostile, undisturbed)
    )
    assert [row["checkpoint"] for row in rows] == [row["checkpoint"] for row in others]
    assert all(float(row["dev"]) >= 0 and float(row["test"]) >= 0 for row in rows)


def test_nothing_that_a_run_leaves_has_the_users_token(undisturbed: Toy) -> None:
    """Neither results nor logs, nor Snakemake's own records."""
    files = [path for path in undisturbed.root.rglob("*") if path.is_file()]
    assert len(files) > 100
    assert not [path for path in files if SECRET.encode() in Path(path).read_bytes()]
