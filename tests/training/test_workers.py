"""Data workers are a machine's: its training processes share them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mlcslm.training.settings import workers_per_process


@pytest.mark.parametrize(("workers", "processes", "each"), [(8, 1, 8), (8, 4, 2), (8, 3, 3), (1, 4, 1), (0, 4, 0)])
def test_processes_share_the_workers(workers: int, processes: int, each: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config: Any = SimpleNamespace(resources=SimpleNamespace(data_workers=workers))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert workers_per_process(config) == each
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert workers_per_process(config) == workers
