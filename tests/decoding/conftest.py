"""A checkpoint that has learnt enough of the tone corpus for its answers to differ in length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.decoder import Decoder
from mlcslm.model.checkpoint import load_checkpoint


@pytest.fixture(scope="session")
def trained(make_config, train: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    stage = {"trains": ["projector", "embedding", "head", "lm_lora"], "template": "tagged", "steps": 100}
    config = make_config({"a": stage | {"learning_rate": 5e-3, "batch_size": 8}})
    return train(config, "a", tmp_path_factory.mktemp("trained"))


@pytest.fixture
def decoder(trained: Path, languages) -> Decoder:
    model, processor = load_checkpoint(trained, languages=languages)
    return Decoder(model, processor, "tagged", DecodingConfig())
