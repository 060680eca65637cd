"""Trackers: TensorBoard gets the training log; weights do not depend on it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mlcslm.errors import UserError
from mlcslm.io.files import sha256
from mlcslm.training.settings import trainer_arguments
from mlcslm.training.tracking import tracked

KEYS = ("TENSORBOARD_LOGGING_DIR", "WANDB_DIR", "WANDB_PROJECT", "WANDB_NAME")


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch) -> None:
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)


def with_trackers(make_config, root: Path, *names: str):
    return make_config({"a/b": {"steps": 3}}, results=str(root), preset="toy", tracking={"report_to": list(names)})


def test_by_default_nothing_is_reported(make_config, tmp_path: Path) -> None:
    config = make_config({"a": {"steps": 3}})
    assert trainer_arguments(config.stages["a"], config, tmp_path)["report_to"] == []
    with tracked("a", config):
        assert not set(KEYS) & set(os.environ)


def test_trackers_are_configured_by_the_environment_which_is_restored(make_config, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    config = with_trackers(make_config, tmp_path, "tensorboard", "wandb")
    assert trainer_arguments(config.stages["a/b"], config, tmp_path)["report_to"] == ["tensorboard", "wandb"]
    with tracked("a/b", config):
        assert {key: os.environ[key] for key in KEYS} == {
            "TENSORBOARD_LOGGING_DIR": f"{tmp_path}/tensorboard/a/b",
            "WANDB_DIR": str(tmp_path),
            "WANDB_PROJECT": "theirs",
            "WANDB_NAME": "toy a/b",
        }
    assert {key: os.environ.get(key) for key in KEYS} == dict.fromkeys(KEYS) | {"WANDB_PROJECT": "theirs"}


def test_a_missing_tracker_is_named_with_its_install_command(make_config, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    config = with_trackers(make_config, tmp_path, "wandb")
    message = r"wandb, which is not installed\. Run: pip install 'mlcslm\[wandb\]'"
    with pytest.raises(UserError, match=message), tracked("a/b", config):
        pass


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="the extra tensorboard is not installed")
def test_tensorboard_shows_the_training_log_and_changes_no_weight(make_config, train, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = train(with_trackers(make_config, tmp_path / "shown", "tensorboard"), "a/b", tmp_path / "shown")
    plain = train(with_trackers(make_config, tmp_path / "plain"), "a/b", tmp_path / "plain")
    assert sha256(out / "projector.safetensors") == sha256(plain / "projector.safetensors")
    events = EventAccumulator(str(tmp_path / "shown" / "tensorboard" / "a" / "b"))
    events.Reload()
    rendered = [(event.step, event.value) for event in events.Scalars("train/loss")]
    log = pq.read_table(out / "training_log.parquet").to_pylist()
    assert rendered == [(row["step"], pytest.approx(row["loss"], rel=1e-6)) for row in log]
    assert not (tmp_path / "plain" / "tensorboard").exists()
