"""ERes2Net (Chen et al. 2023, arXiv:2305.12838): a Res2Net that fuses features within blocks and across stages.

Parameters are named as in 3D-Speaker's public checkpoints. Shapes: B windows, T frames, F mel bins, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from mlcslm.speaker_embedding.base import SpeakerNetwork, StatisticsPooling


class ERes2Net(SpeakerNetwork):
    """ERes2Net: (B, T, features) mean-normalised fbank -> (B, embedding_size). Defaults: the public 6.6 M model's.

    channels: of the first stage, doubled in each of the next three; blocks: in each of the four stages; base_width: of
    a split, in 64ths of the stage's channels; scale: splits per block; expansion: a block's output channels, as a
    multiple of the stage's; features: a multiple of 8. 3D-Speaker's larger model has channels 64, base_width 24,
    scale 3 and expansion 4.
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
        embedding_size: int = 192,
        channels: int = 32,
        blocks: Sequence[int] = (3, 4, 6, 3),
        base_width: int = 32,
        scale: int = 2,
        expansion: int = 2,
    ) -> None:
        super().__init__()
        self.embedding_size = embedding_size
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        incoming = channels
        for number, (count, stride) in enumerate(zip(blocks, (1, 2, 2, 2), strict=True)):
            inner = channels * 2**number
            width = max(1, inner * base_width // 64)
            stage = nn.Sequential()
            for block in range(count):
                # The two upper stages weight a block's splits against each other before adding them.
                first = stride if block == 0 else 1
                stage.append(Res2Block(incoming, inner * expansion, width, scale, first, fuses=number >= 2))
                incoming = inner * expansion
            self.add_module(f"layer{number + 1}", stage)
        outer = channels * expansion
        self.layer1_downsample = _halve(outer)
        self.layer2_downsample = _halve(2 * outer)
        self.layer3_downsample = _halve(4 * outer)
        self.fuse_mode12 = Fusion(2 * outer)
        self.fuse_mode123 = Fusion(4 * outer)
        self.fuse_mode1234 = Fusion(8 * outer)
        self.pooling = StatisticsPooling(epsilon=1e-8)
        self.seg_1 = nn.Linear(2 * 8 * outer * (features // 8), embedding_size)

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, F) -> (B, C, F / 8, T / 8)."""
        x = features.transpose(1, 2).unsqueeze(1)
        first = self.layer1(torch.relu(self.bn1(self.conv1(x))))
        second = self.layer2(first)
        third = self.layer3(second)
        fused = self.fuse_mode12(second, self.layer1_downsample(first))
        fused = self.fuse_mode123(third, self.layer2_downsample(fused))
        return self.fuse_mode1234(self.layer4(third), self.layer3_downsample(fused))

    def projected(self, statistics: torch.Tensor) -> torch.Tensor:
        """(N, statistics) -> (N, embedding_size)."""
        return self.seg_1(statistics)


class Res2Block(nn.Module):
    """A bottleneck whose 3x3 convolutions work on splits of the channels, each also seeing the previous one.

    Its activations are clipped at 20, as in the public model. With `fuses`, each split and the previous one are joined
    by a `Fusion`, else added.
    """

    def __init__(
        self, in_channels: int, out_channels: int, width: int, scale: int, stride: int, *, fuses: bool
    ) -> None:
        super().__init__()
        self.width = width
        self.conv1 = nn.Conv2d(in_channels, width * scale, 1, stride=stride, bias=False)
        self.bn1 = nn.BatchNorm2d(width * scale)
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(scale))
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(scale))
        self.fuse_models = nn.ModuleList(Fusion(width) for _ in range(scale - 1)) if fuses else None
        self.conv3 = nn.Conv2d(width * scale, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.shortcut.append(nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, F, T) -> (B, out_channels, F / stride, T / stride)."""
        outputs: list[torch.Tensor] = []
        for number, split in enumerate(_clipped(self.bn1(self.conv1(x))).split(self.width, dim=1)):
            if outputs:
                before = outputs[-1]
                split = self.fuse_models[number - 1](before, split) if self.fuse_models else before + split
            outputs.append(_clipped(self.bns[number](self.convs[number](split))))
        return _clipped(self.bn3(self.conv3(torch.cat(outputs, dim=1))) + self.shortcut(x))


class Fusion(nn.Module):
    """Attention between two feature maps of the same shape: weights them per channel and position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 4)
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, inner, 1),
            nn.BatchNorm2d(inner),
            nn.SiLU(),
            nn.Conv2d(inner, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Two (B, C, F, T) -> one."""
        share = torch.tanh(self.local_att(torch.cat([first, second], dim=1)))
        return first * (1 + share) + second * (1 - share)


def _halve(channels: int) -> nn.Conv2d:
    """Halves frequencies and frames and doubles channels, to match the next stage's shape."""
    return nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)


def _clipped(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(0, 20)
