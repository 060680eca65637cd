"""Random recognisers, saved once per session."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def _tiny_models() -> Any:
    spec = importlib.util.spec_from_file_location("tiny_models", Path(__file__).with_name("tiny_models.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's random model."""
    models, folders = _tiny_models(), {}

    def folder(family: str) -> Path:
        if family not in folders:
            folders[family] = models.save(family, tmp_path_factory.mktemp(family))
        return folders[family]

    return folder


@pytest.fixture(scope="session")
def noises() -> list[np.ndarray]:
    """Eight utterances of noise, half a second to two seconds, at 16 kHz."""
    random = np.random.default_rng(0)
    lengths = (0.5, 1.3, 0.8, 2.0, 1.0, 1.7, 0.6, 0.9)
    return [random.normal(0, 0.1, round(16000 * seconds)).astype(np.float32) for seconds in lengths]
