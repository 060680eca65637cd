"""A cluster for the tests of this folder, and the toy workflow once on this machine and once on the cluster.

`make slurm-test` runs them: they want Debian's packages slurm-wlm and munge, and some minutes.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

# --import-mode=importlib finds nothing beside a conftest.
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from paper_diarization import packages, paper_diarization
from slurm_cluster import Cluster, running_cluster
from slurm_runs import REPOSITORY, Run

collect_ignore_glob = [] if "MLCSLM_SLURM_TEST" in os.environ else ["test_*.py"]
GROUPS = ("English-American", "French")
DIARIZERS = ("baseline", "campplus-60", "campplus-8", "eres2net-8", "resnet101-8")  # the paper's


def pytest_sessionstart() -> None:
    """On SIGTERM, stop what was started."""
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("asked to stop by SIGTERM", returncode=143))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the models of diarization, whose package jobs find."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", packages(folder))
        yield folder


@pytest.fixture(scope="session")
def cluster(models: Path) -> Iterator[Cluster]:
    # Not pytest's folder: paths of sockets have to be short.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        Path(folder).chmod(0o755)
        with running_cluster(Path(folder) / "c") as cluster:
            yield cluster


@pytest.fixture(scope="session")
def toy_config(
    encoder_folder: str, language_model_folder: str, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    languages_table = (REPOSITORY / "config" / "languages.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    languages = tmp_path_factory.mktemp("languages") / "languages.tsv"
    languages.write_text(
        "".join(line for line in languages_table if line.split("\t")[0] in ("group", *GROUPS)), "utf-8"
    )
    config = yaml.safe_load((Path(__file__).parent / "toy.yaml").read_text("utf-8"))
    config["models"] |= {"encoder": encoder_folder, "language_model": language_model_folder}
    sections = paper_diarization(models)
    sections["diarizers"] = {name: one for name, one in sections["diarizers"].items() if name in DIARIZERS}
    # Long enough to be interrupted.
    sections["embeddings"]["resnet101"]["training"] |= {"steps": 150}
    return config | sections | {"languages": str(languages), "tables": str(REPOSITORY / "config" / "tables.yaml")}


@pytest.fixture(scope="session")
def undisturbed(toy_config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The workflow on this machine, without a cluster and without interruptions."""
    run = Run(tmp_path_factory.mktemp("undisturbed"), toy_config)
    run.finish(run.start(run.tables()))
    return run
