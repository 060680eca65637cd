"""The repository's own rules: sizes, layers, declared dependencies, one set of pins, no paths of a machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import mlcslm
from mlcslm.config.languages import read_languages
from mlcslm.text.templates import TEMPLATES, prompt_text, target_text

REPOSITORY = Path(__file__).parents[1]
SOURCES = sorted((REPOSITORY / "src").rglob("*.py"))
RULES = sorted((REPOSITORY / "workflow" / "rules").glob("*.smk"))
SCRIPTS = sorted((REPOSITORY / "workflow" / "scripts").glob("*.py"))
GITHUB = sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / ".github").rglob("*.yml"))
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]


def lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def too_long(paths: list[Path], limit: int) -> list[str]:
    assert paths
    return [f"{path.relative_to(REPOSITORY)}: {lines(path)} lines" for path in paths if lines(path) > limit]


def pins(*names: str) -> dict[str, Version]:
    """Version of each package in lock files."""
    found = {}
    for name in names:
        for line in (REPOSITORY / name).read_text("utf-8").splitlines():
            if not line.startswith("#"):
                package, version = line.split("==")
                found[canonicalize_name(package)] = Version(version)
    return found


def tracked_files() -> list[Path]:
    """Files that git tracks; without git, those of the folders that hold text of ours."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return [path for name in done.stdout.split("\0") if name and (path := REPOSITORY / name).is_file()]
    folders = ("src", "workflow", "config", "docs", "tests", "envs")
    return [path for folder in folders for path in (REPOSITORY / folder).rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("paths", "limit"),
    [(SOURCES, 500), (RULES, 80), (SCRIPTS, 40), ([REPOSITORY / "Snakefile"], 50)],
    ids=["modules", "rule files", "scripts", "Snakefile"],
)
def test_files_are_short(paths: list[Path], limit: int) -> None:
    assert not too_long(paths, limit)


def test_no_file_names_a_path_of_one_machine() -> None:
    pattern = re.compile(rb"(?<![\w.])/(?:home|root|work|tmp|Users|mnt|scratch)/[\w.-]")
    faults = []
    for path in tracked_files():
        for number, line in enumerate(path.read_bytes().splitlines() if is_text(path) else [], 1):
            if pattern.search(line):
                faults.append(f"{path.relative_to(REPOSITORY)}:{number}: {line.decode(errors='replace').strip()}")
    assert not faults, "\n".join(faults)


def is_text(path: Path) -> bool:
    with open(path, "rb") as file:
        return b"\0" not in file.read(4096)


def imported_packages(path: Path) -> set[str]:
    """Top-level packages that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_imported_packages_are_declared() -> None:
    distributions = {"sklearn": "scikit-learn", "yaml": "pyyaml", "pyannote": "pyannote-core"}
    asked = [
        *PROJECT["dependencies"],
        *(one for extra in ("fsmn", "m4a") for one in PROJECT["optional-dependencies"][extra]),
    ]
    declared = {canonicalize_name(Requirement(line).name) for line in asked}
    (elsewhere,) = (path for path in SOURCES if path.name == "vllm_worker.py")
    imported = set().union(*(imported_packages(path) for path in [*SOURCES, *SCRIPTS] if path != elsewhere))
    third_party = imported - sys.stdlib_module_names - {"mlcslm", "__future__"}
    # Runs in an environment of its own, which has none of ours.
    assert imported_packages(elsewhere) - sys.stdlib_module_names == {"torch", "vllm"}
    assert {"torch", "numpy"} <= third_party
    assert {canonicalize_name(distributions.get(name, name)) for name in third_party} <= declared


def test_command_line_and_workflow_start_without_heavy_imports() -> None:
    """`mlcslm --help` and every Snakemake call import these modules: torch alone would cost seconds."""
    modules = ["mlcslm.workflow", "mlcslm.config.reference", "mlcslm.cli", "mlcslm.cli.corpus", "mlcslm.cli.score"]
    code = f"import sys, {', '.join(modules)}; print(*{{'torch', 'transformers', 'scipy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("extra", [None, "dev", "slurm"])
def test_lock_has_what_pyproject_asks_for(extra: str | None) -> None:
    files = ["requirements.lock"] if extra is None else ["requirements.lock", "requirements-dev.lock"]
    asked = PROJECT["dependencies"] if extra is None else PROJECT["optional-dependencies"][extra]
    locked = pins(*files)
    for requirement in map(Requirement, asked):
        name = canonicalize_name(requirement.name)
        assert name in locked, f"{name}: not in {files[-1]}; `make lock` pins it"
        assert locked[name] in requirement.specifier, f"{requirement}: locked at {locked[name]}"


def test_no_package_is_locked_twice() -> None:
    assert not pins("requirements.lock").keys() & pins("requirements-dev.lock").keys()


def test_conda_environment_has_the_locks_pins_of_all_dependencies() -> None:
    environment = yaml.safe_load((REPOSITORY / "envs" / "mlcslm.yaml").read_text("utf-8"))
    (section,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    found = {canonicalize_name(line.split("==")[0]): Version(line.split("==")[1]) for line in section}
    locked = pins("requirements.lock")
    declared = [canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]]
    assert found == {name: locked[name] for name in declared}


def test_conda_environments_of_rules_exist() -> None:
    named = {
        (path.parent / name).resolve() for path in RULES for name in re.findall(r'"(\S+\.yaml)"', path.read_text())
    }
    assert named == {REPOSITORY / "envs" / name for name in ("mlcslm.yaml", "vllm.yaml")}


@pytest.mark.parametrize("template", TEMPLATES)
def test_documented_templates_are_those_of_the_code(template: str) -> None:
    french = read_languages(REPOSITORY / "config" / "languages.tsv")["French"]
    heard, choice = (["sa va", "ça va"], "other") if template == "choose" else ([], None)
    answer = target_text(french, template, "ça va", "…" if template == "reasoning" else None, choice)
    text = f"`{prompt_text(french, template, first_passes=heard)}{answer}`".replace("|", "\\|").replace("\n", "⏎")
    rows = (REPOSITORY / "docs" / "paper.md").read_text("utf-8").splitlines()
    assert any(row.startswith(f"| `{template}`") and text in row for row in rows), f"docs/paper.md should show {text}"


def test_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    released = re.findall(r"^## ([\d.]+) - ([\d-]+)$", (REPOSITORY / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert (citation["version"], citation["date-released"]) == released[0]
    assert citation["version"] == mlcslm.__version__


def test_index_of_the_documentation_names_every_page_once() -> None:
    index = (REPOSITORY / "docs" / "README.md").read_text("utf-8")
    named = re.findall(r"^\| \[\S+\]\((\w+\.md)\) \|", index, re.M)
    assert sorted(named) == sorted(path.name for path in (REPOSITORY / "docs").glob("*.md") if path.name != "README.md")


def test_map_of_the_tests_names_every_folder() -> None:
    rows = re.findall(r"^\| (`.+?) \|", (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8"), re.M)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    folders = {path.parent.name for path in (REPOSITORY / "tests").glob("*/*.*") if path.parent.name != "__pycache__"}
    assert folders == named


@pytest.mark.parametrize("name", ["CITATION.cff", ".snakemake-workflow-catalog.yml", *GITHUB])
def test_yaml_beside_the_code_can_be_read(name: str) -> None:
    assert isinstance(yaml.safe_load((REPOSITORY / name).read_text("utf-8")), dict)


def test_no_test_looks_beside_the_checkout() -> None:
    """Tests need nothing but a clone: `parents[n]` of a test's own path must not lead out of it."""
    faults = []
    for path in sorted((REPOSITORY / "tests").rglob("*.py")):
        depth = len(path.relative_to(REPOSITORY).parts)
        text = path.read_text("utf-8")
        if any(int(number) >= depth for number in re.findall(r"__file__\)(?:\.resolve\(\))?\.parents\[(\d+)\]", text)):
            faults.append(f"{path.relative_to(REPOSITORY)}: its parents[{depth}] is outside")
    assert not faults, "\n".join(faults)
