"""Experiment trackers in the configuration: where training is shown besides its own log."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlcslm.config_stages import Section

Tracker = Literal["tensorboard", "wandb"]


class TrackingConfig(Section):
    """Trackers that training reports to as it goes; they change no weight, and no job is made anew for them."""

    report_to: tuple[Tracker, ...] = Field(
        (),
        description="tensorboard: files in `<results>/tensorboard`; wandb: Weights & Biases, over the network unless "
        "WANDB_MODE=offline. Each is an extra of the package: pip install 'mlcslm[tensorboard]'",
    )
    project: str = Field("mlcslm", min_length=1, description="project of the runs at Weights & Biases")
