"""The whole workflow at toy size: `snakemake` in the repository's root."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # --import-mode=importlib finds nothing beside a conftest
from forked import REPOSITORY, Setup, snakemake_process

GROUPS = ("English-American", "French", "Thai")
SNAKEMAKE = (sys.executable, "-m", "snakemake")
PATIENCE_S = 1200  # half a minute on a machine that has nothing else to do


@dataclass(frozen=True)
class Toy:
    """A configuration with its results, and Snakemake's own records, below `root`."""

    root: Path
    config: dict[str, Any]

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def table(self) -> Path:
        return self.results / "tables" / "table6.csv"

    def command(self, *arguments: str | Path) -> list[str]:
        """Arguments of Snakemake."""
        file = self.root / "config.yaml"
        file.write_text(yaml.safe_dump(self.config | {"results": str(self.results)}), encoding="utf-8")
        # Started in the repository's root, where the default profile is, but Snakemake's records are kept out of it.
        places = ["--configfile", str(file), "--directory", str(self.root)]
        targets = [] if any(not str(argument).startswith("--") for argument in arguments) else [self.table]
        return ["--cores", "2", *map(str, [*targets, *arguments]), *places]

    def run(
        self, *arguments: str | Path, check: bool = True, forked: bool = True, before: Setup | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; standard output and error together.

        forked: with jobs that need not import all anew (`snakemake_process`, which has `before` too); else as a user.
        """
        command = self.command(*arguments)
        if forked:
            output = self.root / "forked.txt"
            process = snakemake_process(command, output, before=before)
            process.start()
            process.join(PATIENCE_S)
            assert process.exitcode is not None, "ran too long"
            text = output.read_text(encoding="utf-8")
            done = subprocess.CompletedProcess(command, process.exitcode, text)
        else:
            done = subprocess.run(
                [*SNAKEMAKE, *command],
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        assert not check or done.returncode == 0, done.stdout
        return done

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Begin a run as a user does."""
        command = [*SNAKEMAKE, *self.command(*arguments)]
        with open(self.root / "output.txt", "ab") as output:
            return subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=output, start_new_session=True)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End Snakemake and all its jobs at once, as a machine's failure would."""
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        for job in psutil.process_iter(["cmdline"]):
            assert str(self.root) not in " ".join(job.info["cmdline"] or []), "a job has outlived the kill"

    def planned(self, *arguments: str | Path, **options: Any) -> dict[str, int]:
        """Number of jobs by rule that a run would do; empty where it would do nothing."""
        output = self.run("--dry-run", *arguments, **options).stdout
        if "Nothing to be done" in output:
            return {}
        lines = output.split("Job stats:")[1].splitlines()[3:]
        counts = (line.split() for line in lines[: next(i for i, line in enumerate(lines) if line.startswith("total"))])
        return {rule: int(count) for rule, count in counts}

    def changed(self, changes: dict[str, Any]) -> Toy:
        """The same results under a configuration with `changes`, by dotted key."""
        config = json.loads(json.dumps(self.config))  # sections that shared their values no longer do
        for key, value in changes.items():
            *sections, name = key.split(".")
            section = config
            for part in sections:
                section = section.setdefault(part, {})
            section[name] = value
        return Toy(self.root, config)

    def copied(self, root: Path) -> Toy:
        """The configuration with a copy of the results, times of change included."""
        shutil.copytree(self.results, root / "results")
        return Toy(root, self.config)


@pytest.fixture(scope="session")
def toy_config(
    encoder_folder: str, language_model_folder: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    languages_table = (REPOSITORY / "config" / "languages.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    languages = tmp_path_factory.mktemp("languages") / "languages.tsv"
    languages.write_text(
        "".join(line for line in languages_table if line.split("\t")[0] in ("group", *GROUPS)), encoding="utf-8"
    )
    usual = {"parent": "foundation", "trains": ["projector"], "template": "plain"}
    usual |= {"steps": 3, "batch_size": 4, "save_steps": 2}
    demo = {"train_sessions": 1, "dev_sessions": 1, "test_sessions": 1, "turns_per_session": 4}
    return {
        "preset": "toy",
        "languages": str(languages),
        "tables": str(REPOSITORY / "config" / "tables.yaml"),
        "corpus": {"demo": demo | {"noises": 2, "room_responses": 2}},
        "augmentation": {"cached_variants": 1},
        "models": {"encoder": encoder_folder, "language_model": language_model_folder, "projector_hidden": 32},
        "stages": {
            "baseline-1": usual,
            "baseline-2": usual | {"parent": "baseline-1", "trains": ["projector", "lm_lora"]},
            "ckpt-2000": usual,
            # Long enough to be killed on the way.
            "ckpt-4000": usual
            | {"parent": "ckpt-2000", "trains": ["projector", "embedding", "head"], "template": "tagged"}
            | {"steps": 80, "save_steps": 5, "learning_rate": 5e-3},
            "ckpt-7000": usual
            | {"parent": "ckpt-4000", "trains": ["projector", "embedding", "head", "lm_lora", "encoder_lora"]}
            | {"template": "tagged-own-language"},
            "ckpt-9000": usual | {"parent": "ckpt-7000", "trains": ["lm_lora"], "template": "reasoning"},
            "ckpt-10000": usual
            | {
                "parent": "ckpt-9000",
                "trains": ["lm_lora"],
                "template": "reasoning",
                "prompt_loss_weight": {"steps": 2},
            },
        },
        "decodings": {
            "greedy": {"max_new_tokens": 60, "batch_size": 2},
            "beam": {"method": "beam", "beams": 2, "max_new_tokens": 60},
            "sampled": {"method": "multinomial", "max_new_tokens": 60, "batch_size": 2},
        },
        "reasoning": {"decoding": "sampled", "snr_db": [0, 10]},
        "scoring": {"bootstrap_samples": 100},
    }


@pytest.fixture(scope="session")
def finished(toy_config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """An undisturbed run, Table 6 and all. Its results are to be read, never changed: `copied` gives others."""
    toy = Toy(tmp_path_factory.mktemp("finished"), toy_config)
    toy.run()
    return toy


@pytest.fixture(scope="session")
def make_toy() -> type[Toy]:
    return Toy
