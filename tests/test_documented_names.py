"""Files and modules that the documentation names exist: a renamed module is renamed there too."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "src" / "mlcslm"
PAGES = [
    *(REPOSITORY / "docs").glob("*.md"),
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "config/README.md", "benchmarks/README.md")),
    REPOSITORY / "resources" / "foundation" / "README.md",
]
# Folders of the repository; a name such as `results/…` or `data/…` is an example of a run's own files.
OURS = ("benchmarks", "config", "docs", "envs", "profiles", "resources", "src", "tests", "workflow")
FILE = re.compile(r"(?<![\w./<-])((?:[\w.-]+/)+[\w.+-]*[\w+])")
# `mlcslm.json`, `mlcslm.yaml`, `mlcslm.post-deploy.sh`.
FILES_OF_THAT_NAME = (".json", ".yaml", ".post")
MODULE = re.compile(r"\bmlcslm((?:\.[A-Za-z_]\w*)+)")


def in_code(page: str) -> str:
    """Inline code and code blocks of a page, one per line, without URLs."""
    return re.sub(r"\w+://\S+", "", "\n".join(re.findall(r"`+([^`]+)`+", page)))


def missing_files(page: str) -> list[str]:
    """Paths that begin with a folder of this repository, or end like a source file, and do not exist."""
    found = []
    for name in FILE.findall(in_code(page)):
        places = (REPOSITORY / name, PACKAGE / name)
        ours = name.split("/")[0] in OURS or name.endswith((".py", ".smk", ".sql"))
        if ours and not any(place.exists() for place in places):
            found.append(name)
    return found


def exists(parts: list[str]) -> bool:
    """Whether `mlcslm.<parts>` is a package, a module, or a name that occurs in one. Nothing is imported."""
    folder = PACKAGE
    while parts and (folder / parts[0]).is_dir():
        folder, parts = folder / parts[0], parts[1:]
    if not parts:
        return True
    module, names = folder / f"{parts[0]}.py", parts[1:]
    if not module.is_file():
        module, names = folder / "__init__.py", parts
    text = module.read_text("utf-8")
    return all(re.search(rf"\b{name}\b", text) for name in names)


def missing_modules(page: str) -> list[str]:
    names = [name for name in MODULE.findall(page) if name not in FILES_OF_THAT_NAME]
    return [f"mlcslm{name}" for name in names if not exists(name.removeprefix(".").split("."))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_documented_files_and_modules_exist(path: Path) -> None:
    page = path.read_text("utf-8")
    assert missing_files(page) == []
    assert missing_modules(page) == []


def test_a_stale_name_is_noticed() -> None:
    page = "`src/mlcslm/foundation`, `decoding/slots.py`, `mlcslm.config_files`, `mlcslm.config.reading.nothing_here`"
    assert missing_files(page) == ["src/mlcslm/foundation", "decoding/slots.py"]
    assert missing_modules(page) == ["mlcslm.config_files", "mlcslm.config.reading.nothing_here"]
    assert missing_files("`config/demo.yaml`, `corpus/audio.py`, `data/train`") == []
    assert missing_modules("`mlcslm.config.reading.parse_config`, `mlcslm.io`, `mlcslm.errors`") == []
