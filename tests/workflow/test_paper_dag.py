"""The paper preset as it is, planned over a tiny tree in the MLC-SLM layout: its whole DAG, and what is missing."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlcslm.config.diarization import FSMN_MODEL
from mlcslm.config.languages import read_languages
from mlcslm.corpus.layout import Utterance, write_session

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
GROUPS = 15
# On dev: baseline-1 and -2, the five stages of Table 1, the six reward sets, greedily; Table 3's two with context;
# Table 4's nine. On test: Table 6's six rows, which transcribe Table 7's diarizers too.
SYSTEMS = (2 + 5 + 6) + 2 + 9 + 6
DIARIZED = 7 + 4  # Table 5's diarizers with our variants on dev, Table 7's four rows on test
JOBS = {
    "manifest": 3,
    "train": 2 + 5 + 1 + 6,
    "decode": SYSTEMS * GROUPS,
    "merge_hypotheses": SYSTEMS,
    "score": SYSTEMS,
    "decode_training_set": GROUPS,
    "reasoning_data": 1,
    "speaker_corpus": 4,
    "train_embedding": 1,
    "diarize": DIARIZED,
    "transcribe_segments": DIARIZED,
    "score_diarization": DIARIZED,
    "database": 1,
    "table": 7,
}


TRACK_1 = {"manifest", "train", "decode", "merge_hypotheses", "score", "decode_training_set", "reasoning_data"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a tiny corpus, and nothing else that the preset needs."""
    root = tmp_path_factory.mktemp("paper")
    (root / "config").symlink_to(REPOSITORY / "config")
    for split in ("train", "dev", "test"):
        for group in read_languages(REPOSITORY / "config" / "languages.tsv").values():
            utterances = [Utterance("O1", 0.1, 0.4, "a"), Utterance("O2", 0.5, 0.9, "b")]
            folder = root / "data" / "MLC-SLM" / split
            write_session(folder, group, "0001_001", np.zeros(16_000), 16_000, utterances)
    return root


def dry_run(root: Path, *targets: str, **environment: str) -> tuple[str, float]:
    """What a dry run prints, and its seconds of processor time."""
    places = ["--snakefile", REPOSITORY / "Snakefile", "--configfile", "config/paper.yaml"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *targets, "--dry-run", "--quiet", "rules", "--cores", "8", *places],
        cwd=root,
        env=os.environ | {"HF_HUB_CACHE": str(root), "MODELSCOPE_CACHE": str(root)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout
    assert not (root / "results-paper").exists()
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def lacking(root: Path) -> str:
    """What a dry run of everything prints where no model is there."""
    return dry_run(root)[0]


@pytest.fixture(scope="module")
def planned(root: Path, lacking: str) -> tuple[str, float]:
    """A dry run of the seven tables where what diarization needs is there."""
    for folder in ("data/CN-Celeb_flac", "data/CN-Celeb2_flac", "data/VoxBlink", "data/VoxBlink2"):
        (root / folder).mkdir(parents=True)
    for model in ("models/campplus", "models/eres2net", FSMN_MODEL):
        (root / model).mkdir(parents=True)
    (root / "packages").mkdir()
    (root / "packages" / "funasr.py").touch()
    tables = [f"results-paper/tables/table{number}.csv" for number in range(1, 8)]
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(root / "packages")]))
    return dry_run(root, *tables, PYTHONPATH=path)


def job_counts(output: str) -> dict[str, int]:
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE)}


def test_the_seven_tables_are_planned_job_by_job(planned: tuple[str, float]) -> None:
    output, seconds = planned
    counts = job_counts(output)
    assert counts.pop("total") == sum(JOBS.values()) < 2000
    assert counts == JOBS
    assert seconds < 10  # of processor time: elapsed time depends on what else the machine does


def test_without_speaker_models_all_but_diarization_is_planned(lacking: str) -> None:
    counts = job_counts(lacking)
    assert {rule: counts[rule] for rule in TRACK_1} == {rule: JOBS[rule] for rule in TRACK_1}
    assert not {"speaker_corpus", "train_embedding", "diarize"} & counts.keys()
    assert counts["table"] == 5
    assert "7 of 7 diarizers" in lacking
    assert "table5 is not made, table7 is not made" in lacking


def test_job_counts_are_documented() -> None:
    lines = (REPOSITORY / "docs" / "fullsize.md").read_text("utf-8").splitlines()
    for rule, count in (JOBS | {"all": 1, "total": sum(JOBS.values()) + 1}).items():
        assert any(line.startswith(f"| `{rule}` | {count} |") for line in lines), f"docs/fullsize.md: {rule} {count}"


def test_every_missing_input_is_named_with_what_provides_it(lacking: str) -> None:
    for missing in (
        *("data/musan: MUSAN", "data/RIRS_NOISES: RIRS_NOISES", "data/CN-Celeb_flac: CN-Celeb1"),
        *("data/CN-Celeb2_flac: CN-Celeb2", "data/VoxBlink: VoxBlink", "data/VoxBlink2: VoxBlink2"),
        *("openai/whisper-large-v3-turbo: a Whisper", "Tower-Babel/Babel-9B-Chat: a causal language model"),
        *("models/campplus: 3D-Speaker's CAM++", "models/eres2net: 3D-Speaker's ERes2Net"),
        "iic/speech_fsmn_vad_zh-cn-16k-common-pytorch: FSMN-VAD",
    ):
        assert missing in lacking
    assert "corpus.folders" not in lacking
