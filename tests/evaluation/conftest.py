"""A development set of five utterances in three groups, as a manifest and a results folder with its configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from mlcslm.config.reading import read_config
from mlcslm.config.schema import Config
from mlcslm.corpus.identifiers import one_word, utterance_id
from mlcslm.corpus.manifest import SCHEMA, write_manifest
from mlcslm.evaluation.request import Evaluation
from mlcslm.text.protocols import get_protocol
from mlcslm.workflow.layout import Layout

ROOT = Path(__file__).parents[2]
# group, session, speaker, start, end, text; the second English one begins at 0.29 s, which the official ids truncate.
SPOKEN = [
    ("English-American", "0517_007", "O1", 0.0, 0.29, "Hello, world!"),
    ("English-American", "0517_007", "O2", 0.29, 4.0, "I'm here — at last."),
    ("English-American", "0517_007", "O1", 4.0, 6.5, "So am I"),
    ("French", "0001_001", "O1", 0.5, 2.0, "Ça va, hein ?"),
    ("Thai", "0001_002", "O2", 1.0, 2.0, "ไม่ OK"),
]


def manifest_rows(spoken: list[tuple[Any, ...]] = SPOKEN) -> list[dict[str, Any]]:
    """Rows of a manifest, with the audio paths of the corpus."""
    rows = []
    for turn, (group, session, speaker, start, end, text) in enumerate(spoken):
        prefix = group.removeprefix("English-")
        rows.append(
            {
                "utterance_id": utterance_id(group, session, speaker, start, end),
                "session_id": f"{prefix}_{one_word(session)}",
                "grp": group,
                "speaker": speaker,
                "turn": turn,
                "start": start,
                "end": end,
                "audio": f"corpus/dev/{group.replace('-', '/')}/{session}.wav",
                "sample_rate": 16000,
                "text": text,
            }
        )
    return rows


@dataclass(frozen=True)
class Workspace:
    """A results folder with a manifest of dev, and its configuration."""

    root: Path
    configfile: Path

    @property
    def config(self) -> Config:
        return read_config(self.configfile)

    @property
    def layout(self) -> Layout:
        return Layout(self.config)

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.write_text(text, encoding="utf-8")
        return path

    def request(self, *files: Path, **changes: Any) -> Evaluation:
        usual = Evaluation(
            name="theirs",
            split="dev",
            files=files,
            manifest=self.layout.manifest("dev"),
            languages=ROOT / "config" / "languages.tsv",
            protocols=(get_protocol("mlcslm-2025"),),
        )
        return replace(usual, **changes)


def make_workspace(root: Path, rows: list[dict[str, Any]], **sections: Any) -> Workspace:
    """A workspace with a manifest of these rows; sections: of the configuration."""
    stage = {"parent": "foundation", "trains": ["projector"], "template": "plain", "steps": 1}
    values = {
        "results": str(root / "results"),
        "languages": str(ROOT / "config" / "languages.tsv"),
        "tables": str(ROOT / "config" / "tables.yaml"),
        "models": {"encoder": "an-encoder", "language_model": "a-model"},
        "stages": {"ckpt-2000": stage},
        "decodings": {"greedy": {}},
        "scoring": {"bootstrap_samples": 100},
    }
    configfile = root / "config.yaml"
    configfile.write_text(yaml.safe_dump(values | sections), encoding="utf-8")
    write_manifest(pa.Table.from_pylist(rows, schema=SCHEMA), root / "results" / "manifests" / "dev.parquet")
    return Workspace(root, configfile)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path, manifest_rows())


@pytest.fixture
def workspaces() -> Any:
    """Makes workspaces with other rows and configurations."""
    return make_workspace


@pytest.fixture
def rows_of() -> Any:
    """Makes rows of a manifest."""
    return manifest_rows
