"""A configured reinforcement stage: its checkpoint, its log, its interruptions."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.errors import UserError
from mlcslm.io.files import read_rows, sha256
from mlcslm.model.checkpoint_file import read_checkpoint
from mlcslm.training import reinforcement
from mlcslm.training.log import SCHEMA
from mlcslm.training.rewards import EXAMPLE
from mlcslm.training.settings import StagePaths

pytestmark = pytest.mark.slow

PATIENCE_S = 300  # for a loaded machine
ALL = ["projector", "embedding", "head", "lm_lora", "encoder_lora"]
PARENT = {"trains": ALL, "template": "tagged", "steps": 2}
STAGE = {"kind": "reinforcement", "parent": "taught", "template": "reasoning", "trains": ALL, "batch_size": 3}
STAGE |= {"rewards": ["format", "accuracy"], "max_new_tokens": 5, "rollouts": 3, "beam_rollouts": 1, "beams": 2}
STAGE |= {"learning_rate": 1e-2, "warmup_steps": 0}


@pytest.fixture
def arbitrary_rewards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rewards for any answer at all: these models' answers are too wrong to earn real ones."""

    def table(raws: Sequence[str], *others: Any, **_: Any) -> dict[str, list[float]]:
        (name,) = others[2]
        return {name: [(sum(map(ord, raw)) % (7 + len(name))) / (6 + len(name)) for raw in raws]}

    monkeypatch.setattr(reinforcement, "reward_table", table)


def log_of(folder: Path) -> dict[str, list]:
    return pq.read_table(folder / "training_log.parquet").to_pydict()


def part_files(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.glob("*.safetensors")}


@pytest.mark.usefixtures("arbitrary_rewards")
def test_a_killed_stage_ends_with_the_same_weights_and_telemetry(
    make_config, train: Callable[..., Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = make_config({"taught": PARENT, "a": STAGE | {"steps": 10, "accumulation": 2, "save_steps": 3}})
    parent = train(config, "taught", tmp_path)
    undisturbed = train(config, "a", tmp_path / "undisturbed", parent=parent)
    root = tmp_path / "killed"
    process = multiprocessing.get_context("fork").Process(
        target=train, args=(config, "a", root), kwargs={"parent": parent}
    )
    process.start()
    deadline = time.monotonic() + PATIENCE_S
    while not any(len(read_rows(log)) >= 5 for log in (root / "work" / "a").glob("*/log.jsonl")):
        assert time.monotonic() < deadline and process.is_alive()
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (root / "a").exists()
    capfd.readouterr()
    train(config, "a", root, parent=parent)
    assert "a: resuming from step 3 of 10" in capfd.readouterr().err
    assert part_files(root / "a") == part_files(undisturbed) != part_files(parent)
    logs = [log_of(folder) for folder in (root / "a", undisturbed)]
    assert logs[0]["step"] == list(range(1, 11))
    for column in set(logs[0]) - {"seconds", "tokens_per_second"}:
        assert logs[0][column] == logs[1][column], column
    assert min(logs[0]["tokens_per_second"]) > 0


@pytest.mark.usefixtures("arbitrary_rewards")
def test_the_log_and_the_checkpoint_are_complete(make_config, train: Callable[..., Path], tmp_path: Path) -> None:
    stage = STAGE | {"trains": ["projector", "lm_lora"], "steps": 3, "collapse": {"format_below": 0.5, "steps": 2}}
    config = make_config({"taught": PARENT, "a": stage})
    parent, folder = (train(config, name, tmp_path) for name in ("taught", "a"))
    log = log_of(folder)
    assert list(log)[: len(SCHEMA)] == SCHEMA.names
    assert log["step"] == [1, 2, 3]
    assert log["kl"][0] == pytest.approx(0, abs=1e-6)
    assert log["kl"][2] > 1e-6
    totals = [
        0.5 * form + 0.8 * right for form, right in zip(log["reward_format"], log["reward_accuracy"], strict=True)
    ]
    assert log["reward"] == pytest.approx(totals)
    assert log["collapsed"] == [0, 1, 1], "none of its answers is well formed"
    assert log["well_formed_share"] == log["think_length"] == [0, 0, 0]
    assert all(1 <= length <= 5 for length in log["completion_length"])
    info = read_checkpoint(folder)
    assert (info.name, info.parent, info.parts) == ("a", "taught", sorted(ALL))
    assert info.recipe == config.stages["a"].model_dump(mode="json")
    assert info.fingerprints["parent"] == sha256(parent / "checkpoint.json")
    files = part_files(folder)
    changed = {name for name, value in part_files(parent).items() if files[name] != value}
    assert changed == {"projector.safetensors", "lm_lora.safetensors"}


def test_mistakes_are_reported(make_config, train: Callable[..., Path], tmp_path: Path) -> None:
    config = make_config({"taught": PARENT, "a": STAGE | {"steps": 1, "batch_size": 10, "accumulation": 3}})
    train(config, "taught", tmp_path)
    expected = r"stages\.a: batch_size 10 with accumulation 3 is 30 utterances per step, but .* has only 24"
    with pytest.raises(UserError, match=expected):
        train(config, "a", tmp_path)


def test_each_reward_matches_its_name(make_config) -> None:
    stage = make_config({"taught": PARENT, "a": STAGE | {"steps": 1}}).stages["a"]
    rows = {
        "raw": [EXAMPLE, EXAMPLE.replace("</think>", ""), ""],
        "reference": ["i mix tea"] * 3,
        "unit": ["word"] * 3,
        "language": ["<LANG_EN>"] * 3,
        "utterance_id": ["a", "b", "c"],
    }
    assert reinforcement.reward_function("format", stage)(**rows) == [1, 0, 0]
    assert reinforcement.reward_function("format", stage)(**rows | {"language": ["<LANG_FR>"] * 3}) == [0, 0, 0]
    assert reinforcement.reward_function("accuracy", stage)(**rows) == pytest.approx([2 / 3, 2 / 3, 0])
    improved = rows | {"reference": ["i make tea"] * 3}
    strict = stage.model_copy(update={"similarity": 0.7})
    assert reinforcement.reward_function("correction", stage)(**improved) == [1, 1, 0]
    assert reinforcement.reward_function("correction", strict)(**improved) == [0, 0, 0]
    # "i mate tea" in two of three answers, one of which is well formed.
    found = reinforcement.measure_function(stage)(**rows)
    assert found == {"think_length": 2.0, "well_formed_share": pytest.approx(1 / 3)}


@pytest.mark.usefixtures("forked_processes")
def test_two_processes_sample_and_learn_together(
    make_config, train: Callable[..., Path], tmp_path: Path, tones: Path
) -> None:
    """Their answers are malformed, but some of their words are right."""
    from mlcslm.training.launch import launch_stage

    taught = PARENT | {"steps": 120, "learning_rate": 5e-3, "trains": ["projector", "embedding", "head"]}
    stage = STAGE | {"steps": 2, "accumulation": 2, "max_new_tokens": 20, "temperature": 1.0}
    config = make_config({"taught": taught, "a": stage | {"rewards": ["accuracy"]}})
    parent = train(config, "taught", tmp_path)
    paths = StagePaths(out=tmp_path / "a", work=tmp_path / "work" / "a", manifest=tones, parent=parent)
    launch_stage("a", config, paths, processes=2)
    log = log_of(tmp_path / "a")
    assert log["step"] == [1, 2]
    assert log["kl"][0] == pytest.approx(0, abs=1e-6)
    assert log["kl"][1] > 1e-6
    assert log["reward_accuracy_std"][0] > 0
