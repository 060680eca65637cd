"""The training loop of both foundation models: a phase with its own learning rate and optimiser state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import nn

MODEL_FILES = ("*.json", "model.safetensors", "chat_template.jinja")
"""Names of all that a foundation model's folder can hold."""


def train_phase(
    model: nn.Module,
    steps: int,
    learning_rate: float,
    factor: Callable[[int], float],
    loss_of: Callable[[], torch.Tensor],
) -> Iterator[dict[str, float]]:
    """Train all weights of `model`; every 50 steps, yield the step, the mean loss and the seconds since the start.

    factor: multiplier of the learning rate by step (from 0); loss_of: returns the loss of the next batch.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    started, running = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        loss = loss_of()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        running += loss.item()
        if step % 50 == 0:
            yield {"step": step, "loss": running / 50, "seconds": time.monotonic() - started}
            running = 0.0
