"""A toy workflow, run once undisturbed, and copies of it to break."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

# Modules beside a conftest cannot be imported otherwise with --import-mode=importlib; the path stays, for what is
# unpickled in the processes of these tests.
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from forked import REPOSITORY
from toy_runs import Toy, carry_a_secret, toy_config

GROUPS = ("French", "Thai")


@pytest.fixture(scope="session")
def undisturbed(encoder_folder: str, language_model_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A run that nothing has disturbed. To be read, never changed."""
    root = tmp_path_factory.mktemp("undisturbed")
    lines = (REPOSITORY / "config" / "languages.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    (root / "languages.tsv").write_text("".join(line for line in lines if line.split("\t")[0] in ("group", *GROUPS)))
    shutil.copytree(encoder_folder, root / "foundation" / "encoder")
    shutil.copytree(language_model_folder, root / "foundation" / "language_model")
    toy = Toy(root, toy_config())
    assert toy.run(before=carry_a_secret) == 0, toy.output
    return toy


@pytest.fixture
def toy(undisturbed: Toy, tmp_path: Path) -> Toy:
    """A copy of the undisturbed run to break."""
    return undisturbed.copied(tmp_path)
