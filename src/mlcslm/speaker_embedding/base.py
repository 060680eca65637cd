"""What the speaker embedding networks share: their interface, and pooling over time."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn


class FrameNetwork(Protocol):
    """What embeds windows: frame by frame, then pooled over the window and over stretches of it.

    cpu_rows: windows in every call on a CPU. Its kernels round differently for different numbers of rows; a fixed
    number makes an embedding bit-identical whatever else is in the batch.
    """

    cpu_rows: int

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, F) mean-normalised fbank -> (B, ..., T / stride, rounded up), what is pooled over time."""
        ...

    def pooled(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, ..., T) -> (B, embedding_size)."""
        ...

    def pooled_parts(self, frames: torch.Tensor, length: int, step: int) -> torch.Tensor:
        """(B, ..., T) -> (B, P, embedding_size): each `length` of the T frames, every `step`; at least one."""
        ...


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over the last dimension, concatenated: (B, ..., T) -> (B, 2 * the rest).

    epsilon is added to the variance (1e-8 in 3D-Speaker's ERes2Net, 1e-7 in WeSpeaker's ResNet, 0 in CAM++). Computed
    in float32. T must be at least 2, because the variance divides by T - 1.
    """

    def __init__(self, epsilon: float = 0.0) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, ..., T) -> (B, 2 * the rest)."""
        x = x.float().flatten(1, -2)
        deviation = (x.var(dim=-1) + self.epsilon).sqrt() if self.epsilon else x.std(dim=-1)
        return torch.cat([x.mean(dim=-1), deviation], dim=1)

    def of_parts(self, x: torch.Tensor, length: int, step: int) -> torch.Tensor:
        """(B, ..., T) -> (B, P, 2 * the rest): `forward` of each `length` of the T frames, every `step`."""
        x = x.float().flatten(1, -2)
        frames = x.shape[-1]
        starts = step * torch.arange((frames - length) // step + 1, device=x.device)
        at = torch.arange(frames, device=x.device)[:, None]
        inside = ((at >= starts) & (at < starts + length)).float()  # (T, P): sums are products, without copies of parts
        # Deviations from the window's mean: their squares do not cancel.
        middle = x.mean(dim=-1, keepdim=True)
        around = x - middle
        mean = around @ inside / length
        variance = (around.square() @ inside - length * mean.square()) / (length - 1)
        deviation = (variance.clamp(min=0) + self.epsilon).sqrt()
        return torch.cat([mean + middle, deviation], dim=1).transpose(1, 2)


class PooledFrames:
    """`pooled` and `pooled_parts` of a `FrameNetwork` that maps statistics of frames to embeddings."""

    cpu_rows = 32  # more are no faster
    pooling: StatisticsPooling

    def projected(self, statistics: torch.Tensor) -> torch.Tensor:
        """(N, statistics) -> (N, embedding_size)."""
        raise NotImplementedError

    def pooled(self, frames: torch.Tensor) -> torch.Tensor:
        """(B, ..., T) -> (B, embedding_size)."""
        return self.projected(self.pooling(frames))

    def pooled_parts(self, frames: torch.Tensor, length: int, step: int) -> torch.Tensor:
        """(B, ..., T) -> (B, P, embedding_size): each `length` of the T frames, every `step`; at least one."""
        statistics = self.pooling.of_parts(frames, length, step)
        return self.projected(statistics.flatten(0, 1)).unflatten(0, statistics.shape[:2])


class SpeakerNetwork(PooledFrames, nn.Module):
    """A network that maps (B, T, features) mean-normalised fbank to (B, embedding_size): `frames`, pooled, projected.

    stride: frames of fbank per frame of `frames`, whose t-th is centred on fbank frame `stride` t.
    """

    embedding_size: int
    stride: int

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, F) mean-normalised fbank -> (B, ..., T / stride, rounded up), what is pooled over time."""
        raise NotImplementedError

    def on_cpu(self) -> FrameNetwork:
        """The same function for a CPU, in evaluation mode and with the weights of now; the network itself if none is
        faster."""
        return self

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, F) -> (B, embedding_size)."""
        return self.pooled(self.frames(features))
