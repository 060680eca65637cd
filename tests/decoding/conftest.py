"""A checkpoint that has learnt enough of the tone corpus for its answers to differ in length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def trained(make_config, train: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    stage = {"trains": ["projector", "embedding", "head", "lm_lora"], "template": "tagged", "steps": 100}
    config = make_config({"a": stage | {"learning_rate": 5e-3, "batch_size": 8}})
    return train(config, "a", tmp_path_factory.mktemp("trained"))
