"""CAM++ (Wang et al. 2023, arXiv:2303.00332): a densely connected TDNN with context-aware masks behind a 2-D front end.

Parameters are named as in 3D-Speaker's public checkpoints, which load strictly. Shapes: B windows, T frames, F mel
bins, C channels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from mlcslm.speaker_embedding.base import FrameNetwork, SpeakerNetwork, StatisticsPooling

KERNELS, DILATIONS = (3, 3, 3), (1, 2, 2)
# Frames (after the first layer's stride) that share a mask's local context: two seconds.
SEGMENT_FRAMES = 100
_POOLING = -2  # place in `xvector`


class CAMPPlus(SpeakerNetwork):
    """CAM++: (B, T, features) mean-normalised fbank -> (B, embedding_size). Defaults: the public model's.

    channels: after the first TDNN layer; growth: channels added by each dense layer; bottleneck: inner width of a dense
    layer, as a multiple of growth; blocks: number of dense layers in each of the three blocks; head_channels: of the
    2-D front end; features: a multiple of 8.
    """

    stride = 2

    def __init__(
        self,
        *,
        features: int = 80,
        embedding_size: int = 192,
        channels: int = 128,
        growth: int = 32,
        bottleneck: int = 4,
        blocks: Sequence[int] = (12, 24, 16),
        head_channels: int = 32,
    ) -> None:
        super().__init__()
        self.embedding_size = embedding_size
        self.head = FrontEnd(features, head_channels)
        self.xvector = nn.Sequential()
        self.xvector.add_module("tdnn", TimeDelay(self.head.out_channels, channels))
        for number, (layers, kernel, dilation) in enumerate(zip(blocks, KERNELS, DILATIONS, strict=True), 1):
            block = DenseBlock(layers, channels, growth, bottleneck * growth, kernel, dilation)
            channels += layers * growth
            self.xvector.add_module(f"block{number}", block)
            self.xvector.add_module(f"transit{number}", Transition(channels, channels // 2))
            channels //= 2
        self.xvector.add_module("out_nonlinear", _normalise(channels))
        self.pooling = StatisticsPooling()
        self.xvector.add_module("stats", self.pooling)
        self.xvector.add_module("dense", EmbeddingLayer(2 * channels, embedding_size))
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, F) -> (B, C, T / 2)."""
        return self.xvector[:_POOLING](self.head(features.transpose(1, 2)))

    def projected(self, statistics: torch.Tensor) -> torch.Tensor:
        """(N, 2 C) -> (N, embedding_size)."""
        return self.xvector[-1](statistics)

    def on_cpu(self) -> FrameNetwork:
        """`FoldedCAMPPlus`: a third less time."""
        from mlcslm.speaker_embedding.campplus_inference import FoldedCAMPPlus

        return FoldedCAMPPlus(self)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; the stride is along frequency only."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != channels:
            self.shortcut.append(nn.Conv2d(in_channels, channels, 1, stride=(stride, 1), bias=False))
            self.shortcut.append(nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, F, T) -> (B, channels, F / stride, T)."""
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.shortcut(x))


class FrontEnd(nn.Module):
    """2-D convolutions over frequency and time; frequency is divided by 8, time kept."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.layer1 = nn.Sequential(ResidualBlock(channels, channels, 2), ResidualBlock(channels, channels, 1))
        self.layer2 = nn.Sequential(ResidualBlock(channels, channels, 2), ResidualBlock(channels, channels, 1))
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.out_channels = channels * (features // 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, F, T) -> (B, out_channels, T)."""
        x = torch.relu(self.bn1(self.conv1(x.unsqueeze(1))))
        x = torch.relu(self.bn2(self.conv2(self.layer2(self.layer1(x)))))
        return x.flatten(1, 2)


class TimeDelay(nn.Module):
    """The first TDNN layer: five frames wide, with stride 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, out_channels, 5, stride=2, padding=2, bias=False)
        self.nonlinear = _normalise(out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, out_channels, T / 2)."""
        return self.nonlinear(self.linear(x))


def mask_by_context(x: torch.Tensor, mask: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """What `mask` makes of the context of the whole window and of each two-second segment of x (..., T): (..., T), or
    (..., 1) if the window is one segment."""
    frames = x.shape[-1]
    whole = x.mean(dim=-1, keepdim=True)
    if frames <= SEGMENT_FRAMES:
        return mask(2 * whole)
    local = functional.avg_pool1d(x, SEGMENT_FRAMES, SEGMENT_FRAMES, ceil_mode=True)
    return mask(whole + local).repeat_interleave(SEGMENT_FRAMES, dim=-1)[..., :frames]


class ContextMask(nn.Module):
    """A convolution whose output is masked by the context of the whole window and of each two-second segment."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, dilation: int) -> None:
        super().__init__()
        padding = (kernel - 1) // 2 * dilation
        self.linear_local = nn.Conv1d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(in_channels, in_channels // 2, 1)
        self.linear2 = nn.Conv1d(in_channels // 2, out_channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, out_channels, T)."""
        return self.linear_local(x) * mask_by_context(x, self._mask)

    def _mask(self, context: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.linear2(torch.relu(self.linear1(context))))


class DenseLayer(nn.Module):
    """A bottleneck and a masked convolution."""

    def __init__(self, in_channels: int, growth: int, inner: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _normalise(in_channels)
        self.linear1 = nn.Conv1d(in_channels, inner, 1, bias=False)
        self.nonlinear2 = _normalise(inner)
        self.cam_layer = ContextMask(inner, growth, kernel, dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, growth, T)."""
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))


class DenseBlock(nn.Module):
    """Layers that each see the outputs of all before them."""

    def __init__(self, layers: int, in_channels: int, growth: int, inner: int, kernel: int, dilation: int) -> None:
        super().__init__()
        for number in range(layers):
            layer = DenseLayer(in_channels + number * growth, growth, inner, kernel, dilation)
            self.add_module(f"tdnnd{number + 1}", layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, C + layers * growth, T)."""
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x


class Transition(nn.Module):
    """Reduces the channels after a block."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.nonlinear = _normalise(in_channels)
        self.linear = nn.Conv1d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T) -> (B, out_channels, T)."""
        return self.linear(self.nonlinear(x))


class EmbeddingLayer(nn.Module):
    """The embedding: a linear map (a convolution of width 1 in the public checkpoints) and non-affine batch norm."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(in_channels, out_channels, 1, bias=False)
        self.nonlinear = nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(out_channels, affine=False)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C) -> (B, out_channels)."""
        return self.nonlinear(self.linear(x.unsqueeze(-1)).squeeze(-1))


def _normalise(channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU()))
