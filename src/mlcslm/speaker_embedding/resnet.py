"""ResNet-101 for speakers, as WeSpeaker (arXiv:2210.17016) builds it: a small stem, no max pooling, statistics pooling.

Parameters are named as in WeSpeaker's and 3D-Speaker's public checkpoints. Shapes: B windows, T frames, F mel bins,
C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mlcslm.speaker_embedding.base import SpeakerNetwork, StatisticsPooling

EXPANSION = 4


class ResNet(SpeakerNetwork):
    """ResNet of bottlenecks: (B, T, features) mean-normalised fbank -> (B, embedding_size). Defaults: ResNet-101's.

    channels: of the first stage, doubled in each of the next three; blocks: bottlenecks in each of the four stages;
    features: a multiple of 8.
    """

    stride = 8
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(
        self,
        *,
        features: int = 80,
        embedding_size: int = 256,
        channels: int = 32,
        blocks: Sequence[int] = (3, 4, 23, 3),
    ) -> None:
        super().__init__()
        self.embedding_size = embedding_size
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        width = channels
        for number, (count, stride) in enumerate(zip(blocks, (1, 2, 2, 2), strict=True)):
            inner = channels * 2**number
            stage = nn.Sequential()
            for block in range(count):
                stage.append(Bottleneck(width, inner, stride if block == 0 else 1))
                width = inner * EXPANSION
            self.add_module(f"layer{number + 1}", stage)
        self.pooling = StatisticsPooling(epsilon=1e-7)
        self.seg_1 = nn.Linear(2 * width * (features // 8), embedding_size)

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, F) -> (B, C, F / 8, T / 8)."""
        x = features.transpose(1, 2).unsqueeze(1)
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def projected(self, statistics: torch.Tensor) -> torch.Tensor:
        """(N, statistics) -> (N, embedding_size)."""
        return self.seg_1(statistics)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut; with four times as many output as inner channels."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        out_channels = EXPANSION * channels
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.append(nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, F, T) -> (B, 4 * channels, F / stride, T / stride)."""
        inner = torch.relu(self.bn1(self.conv1(x)))
        inner = torch.relu(self.bn2(self.conv2(inner)))
        return torch.relu(self.bn3(self.conv3(inner)) + self.shortcut(x))
