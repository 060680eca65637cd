"""The toy corpus's files and database; toy_inputs.py and toy_tables.py make them of toy.yaml."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Modules beside a conftest cannot be imported otherwise with --import-mode=importlib.
sys.path.insert(0, str(Path(__file__).parent))
import toy_inputs as toy
import toy_queries  # noqa: F401  tests import it by name from here on
import toy_tables

sys.path.remove(str(Path(__file__).parent))


@pytest.fixture
def inputs(tmp_path: Path) -> toy.Inputs:
    """The toy corpus's files, to change and build from."""
    return toy.make_inputs(tmp_path / "results")


@pytest.fixture
def session_inputs(inputs: toy.Inputs) -> toy.Inputs:
    """The same with each utterance a session of its own, all of one group: dev's six are enough for an interval."""
    for split in ("dev", "test"):
        rows = toy.manifest_rows(split)
        sessions = [f"{row['session_id'].split('_')[0]}_{number}" for number, row in enumerate(rows, start=1)]
        changes = [{"session_id": name, "grp": "English-American"} for name in sessions]
        inputs.with_manifest(split, [row | change for row, change in zip(rows, changes, strict=True)])
        for system in ("baseline-2/greedy", "ckpt-4000/greedy", "ckpt-7000/greedy"):
            counts = toy.count_rows(system, split)
            inputs.with_counts(system, split, [row | change for row, change in zip(counts, changes, strict=True)])
    return inputs


@pytest.fixture
def reasoning_inputs(inputs: toy.Inputs) -> toy.Inputs:
    """The same with ckpt-2000, and with two systems that reflect."""
    return toy.with_reasoning(inputs)


@pytest.fixture
def grid_inputs(inputs: toy.Inputs) -> toy.Inputs:
    """The same with the systems of Tables 3 and 4."""
    return toy_tables.with_grids(inputs)


@pytest.fixture
def diarization_inputs(inputs: toy.Inputs) -> toy.Inputs:
    """The same with diarizers."""
    return toy_tables.with_diarization(inputs)


@pytest.fixture
def recipe_inputs(inputs: toy.Inputs) -> toy.Inputs:
    """The same with recipes and an oracle."""
    return toy_tables.with_recipes(inputs)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy corpus's database with everything, to read."""
    return toy_tables.with_everything(toy.make_inputs(tmp_path_factory.mktemp("toy") / "results")).build()


@pytest.fixture
def manifest_rows_of():
    return toy.manifest_rows


@pytest.fixture
def hypothesis_rows_of():
    return toy.hypothesis_rows


@pytest.fixture
def count_rows_of():
    return toy.count_rows
