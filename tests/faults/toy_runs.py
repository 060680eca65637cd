"""A toy workflow whose every run takes seconds, to break and to run again."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from forked import REPOSITORY, Setup, snakemake_process

from mlcslm.io.files import sha256

PATIENCE_S = 300
SECRET = "correct horse battery staple"
# What a run has finished; the rest are logs, measures of time, and work under way.
FINISHED = ("checkpoints", "corpus", "features", "hypotheses", "manifests", "reasoning", "reflections", "scores")


@dataclass(frozen=True)
class Toy:
    """A configuration with its results, and Snakemake's own records, below `root`; all its paths are relative to it."""

    root: Path
    config: dict[str, Any]

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def output(self) -> str:
        """What the last run has printed."""
        return (self.root / "output.txt").read_text(encoding="utf-8", errors="replace")

    def log(self, name: str) -> str:
        """A job's log; empty where it has none."""
        path = self.results / "logs" / f"{name}.log"
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def with_inputs(self, root: Path) -> Toy:
        """The same configuration with copies of the foundation models and the languages table alone."""
        shutil.copytree(self.root / "foundation", root / "foundation")
        shutil.copy2(self.root / "languages.tsv", root)
        return Toy(root, self.config)

    def copied(self, root: Path) -> Toy:
        """The same with copies of all files, times of change included."""
        for name in ("results", ".snakemake"):
            shutil.copytree(self.root / name, root / name)
        return self.with_inputs(root)

    def changed(self, **sections: Any) -> Toy:
        """The same files under a configuration with other `sections`."""
        return Toy(self.root, self.config | sections)

    def start(self, *arguments: str, before: Setup | None = None, in_jobs: Mapping[str, Setup] | None = None) -> Any:
        """Begin a run; its process. before, in_jobs: of `snakemake_process`."""
        file = self.root / "config.yaml"
        file.write_text(yaml.safe_dump(self.config), encoding="utf-8")
        targets = [] if any(not argument.startswith("--") for argument in arguments) else ["results/tables/table6.csv"]
        places = ["--cores", "2", "--configfile", str(file), "--directory", str(self.root)]
        process = snakemake_process(
            [*targets, *arguments, *places], self.root / "output.txt", before=before, in_jobs=in_jobs
        )
        process.start()
        return process

    def run(self, *arguments: str, **setups: Any) -> int:
        """Exit status of a run to its end."""
        return self.wait(self.start(*arguments, **setups))

    def wait(self, process: Any) -> int:
        process.join(PATIENCE_S)
        assert process.exitcode is not None, "ran too long"
        return process.exitcode

    def kill(self, process: Any) -> None:
        """End Snakemake and all its jobs at once, as a machine's failure would."""
        os.killpg(process.pid, signal.SIGKILL)
        process.join()

    def wait_for(self, condition: Callable[[], Any], process: Any) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert time.monotonic() < deadline, "waited in vain"
            assert process.is_alive(), self.output
            time.sleep(0.002)
        return found

    def remove(self, *names: str) -> None:
        """Remove files and folders of the results."""
        for name in names:
            path = self.results / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def forget(self, *systems: str) -> None:
        """Remove the table and what was decoded of systems, `checkpoint/split`, so that a run rebuilds it."""
        for system in systems:
            checkpoint, split = system.split("/")
            for kind in ("hypotheses", "scores", "reflections"):
                self.remove(f"{kind}/{checkpoint}/greedy/{split}.parquet", f"{kind}/{checkpoint}/greedy/{split}")
        self.remove("tables")

    def finished(self) -> dict[str, str]:
        """SHA-256 of every finished file."""
        paths = (path for kind in FINISHED for path in (self.results / kind).rglob("*"))
        return {str(path.relative_to(self.results)): sha256(path) for path in paths if path.is_file()}

    def made(self) -> dict[str, Any]:
        """All that a run is for, without what tells the time: tables, answers, weights, losses."""
        found: dict[str, Any] = {}
        for path in sorted(self.results.rglob("*")):
            name = str(path.relative_to(self.results))
            if name.startswith("tables/"):
                found[name] = path.read_bytes()
            elif path.suffix in (".safetensors", ".json") and name.startswith("checkpoints/"):
                found[name] = sha256(path)
            elif path.name == "training_log.parquet":
                found[name] = pq.read_table(path, columns=["step", "loss"]).to_pydict()
            elif name.startswith("hypotheses/") and path.suffix == ".parquet":
                found[name] = pq.read_table(path).drop_columns("seconds").to_pylist()
            elif name.startswith(("scores/", "reflections/")) and path.is_file():
                found[name] = pq.read_table(path).to_pylist()
        return found


def carry_a_secret() -> None:
    """Give a run a token in its environment, as the users of a model hub have it."""
    os.environ["HF_TOKEN"] = SECRET


def toy_config() -> dict[str, Any]:
    """Three stages, the last of which reasons, and one decoding, in two groups."""
    usual = {"parent": "foundation", "trains": ["projector"], "template": "plain"}
    usual |= {"steps": 4, "batch_size": 4, "save_steps": 2}
    parts = ["projector", "embedding", "head"]
    demo = {"train_sessions": 1, "dev_sessions": 1, "test_sessions": 1, "turns_per_session": 4}
    return {
        "preset": "toy",
        "languages": "languages.tsv",
        "tables": str(REPOSITORY / "config" / "tables.yaml"),
        "corpus": {"demo": demo | {"noises": 2, "room_responses": 2}},
        "augmentation": {"cached_variants": 1},
        "models": {
            "encoder": "foundation/encoder",
            "language_model": "foundation/language_model",
            "projector_hidden": 32,
        },
        "stages": {
            "ckpt-4000": usual | {"trains": parts, "template": "tagged"},
            "ckpt-7000": usual
            | {"parent": "ckpt-4000", "trains": [*parts, "lm_lora", "encoder_lora"], "template": "tagged"},
            "ckpt-10000": usual | {"parent": "ckpt-7000", "trains": ["lm_lora"], "template": "reasoning"},
        },
        "decodings": {"greedy": {"max_new_tokens": 20, "batch_size": 2}},
        "scoring": {"bootstrap_samples": 100},
    }


@contextlib.contextmanager
def unnoticed(path: Path) -> Iterator[int]:
    """Change a file, whose size is given, and not its time of change: a failing disk does not tell either."""
    before = path.stat()
    yield before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cut(path: Path, share: float = 0.5) -> None:
    """Leave the first part of a file."""
    with unnoticed(path) as size:
        os.truncate(path, int(size * share))


def flip(path: Path, share: float = 0.75) -> None:
    """Change one bit of a file."""
    with unnoticed(path) as size, open(path, "r+b") as file:
        file.seek(int(size * share))
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))


def change_json(path: Path, **values: Any) -> None:
    """Set keys of a JSON file."""
    with unnoticed(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
