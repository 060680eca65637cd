"""Speaker embedding training asked to stop saves its state, and resumes to the same weights."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from mlcslm.config.reading import parse_config
from mlcslm.runtime.interruption import Interrupted, raises_on_request
from mlcslm.speaker_embedding import training as embedding_training
from mlcslm.speaker_embedding.training import EmbeddingPaths, train_embedding


@pytest.mark.slow
def test_training_resumes_after_the_step_in_which_it_was_asked_to_stop(
    voices: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = {"channels": 16, "growth": 8, "blocks": [1, 1, 1], "head_channels": 4, "embedding_size": 16}
    training = {"steps": 6, "batch_size": 8, "crop_s": 0.5, "speeds": [], "augmentation": 0, "save_steps": 1000}
    config = parse_config(
        {
            "models": {"encoder": "e", "language_model": "l"},
            "stages": {"s": {"parent": "foundation", "trains": ["projector"], "template": "plain", "steps": 1}},
            "decodings": {"greedy": {}},
            "embeddings": {"mine": {"network": "campplus", "size": size, "training": training}},
        }
    )
    undisturbed, stopped = (
        EmbeddingPaths(folder / "out", folder / "work", voices["train"], voices["dev"])
        for folder in (tmp_path / "undisturbed", tmp_path / "stopped")
    )
    train_embedding("mine", config, undisturbed)
    margin_at, steps = embedding_training.margin_at, []

    def stop_in_the_third(step: int, *rest: Any) -> float:
        steps.append(step)
        if len(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return margin_at(step, *rest)

    monkeypatch.setattr(embedding_training, "margin_at", stop_in_the_third)
    with pytest.raises(Interrupted) as caught, raises_on_request():
        train_embedding("mine", config, stopped)
    assert caught.value.saved == "the state after step 3 of 6"
    assert not stopped.out.exists()
    train_embedding("mine", config, stopped)
    assert steps == list(range(6))
    weights = [(paths.out / "model.safetensors").read_bytes() for paths in (stopped, undisturbed)]
    assert weights[0] == weights[1]
