"""The Containerfile: as the lock and pyproject.toml have it, and its steps readable by the script that runs them."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

sys.path.insert(0, str(Path(__file__).parents[1] / ".ci"))  # --import-mode=importlib finds nothing beside a conftest
from container_steps import apt_packages, copy, ignored, steps

REPOSITORY = Path(__file__).parents[1]
STEPS = steps((REPOSITORY / "Containerfile").read_text(encoding="utf-8"))


def test_its_python_is_one_that_the_project_takes() -> None:
    ((_, image),) = [step for step in STEPS if step[0] == "FROM"]
    version = image.split("python:")[1].split("-")[0]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert SpecifierSet(project["requires-python"]).contains(version)


def test_the_lock_is_all_that_is_installed_and_comes_before_the_sources() -> None:
    installs = [number for number, (name, argument) in enumerate(STEPS) if name == "RUN" and "pip install" in argument]
    locked, own = (STEPS[number][1] for number in installs)
    assert "--requirement requirements.lock" in locked and "--no-deps" in own
    assert installs[0] < STEPS.index(("COPY", ". .")) < installs[1]


def test_the_compiler_is_there() -> None:
    (command,) = [argument for name, argument in STEPS if name == "RUN" and "apt-get" in argument]
    assert apt_packages(command) == ["g++"]


@pytest.mark.parametrize("path", [".git/HEAD", "results-paper/x", ".venv/bin", "src/mlcslm/__pycache__/a", "data/x"])
def test_what_is_not_ours_stays_out(path: str) -> None:
    assert ignored(Path(path))


def test_whatever_git_tracks_comes_in() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout
    assert [path for path in tracked.splitlines() if ignored(Path(path))] == []


def test_a_folder_is_copied_without_what_is_ignored(tmp_path: Path) -> None:
    copy(REPOSITORY / "workflow", tmp_path / "workflow")
    found = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert Path("workflow/rules/training.smk") in found
    assert not [path for path in found if "__pycache__" in path.parts]


def test_an_instruction_that_would_not_be_run_is_refused() -> None:
    assert steps("# a\nRUN a && \\\n    b\n") == [("RUN", "a && b")]
    with pytest.raises(ValueError, match="found ADD; expected"):
        steps("ADD a b")
