"""CAM++ as it is run, not trained, on a CPU: the same function in fewer passes over memory, up to rounding.

Batch norms are folded into convolutions. A dense layer's batch norm and ReLU come before its convolution, and become a
limit for each channel: s x + b, rectified, is |s| times how far x is above (s > 0) or below (s < 0) -b / s, so that
W relu(s x + b) = (W s) max(x, -b / s) + W b, with min where s < 0. The channels of a block are rows of one buffer, to
which each layer adds its own. Shapes: B windows, C channels, F mel bins, T frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mlcslm.speaker_embedding.base import PooledFrames
from mlcslm.speaker_embedding.campplus import (
    CAMPPlus,
    ContextMask,
    DenseBlock,
    DenseLayer,
    FrontEnd,
    Transition,
    mask_by_context,
)

_HEAD_ROWS = 4  # windows whose 2-D activations, 0.8 MB each, stay in the cache


class FoldedCAMPPlus(PooledFrames):
    """`frames` and `pooled` of a CAM++ in evaluation mode, from copies of its weights, for float32 on a CPU."""

    cpu_rows = 8  # their channels, 0.3 MB a window in the widest block, stay in the cache

    def __init__(self, network: CAMPPlus) -> None:
        self._head = _FoldedFrontEnd(network.head)
        self.pooling = network.pooling
        layers: Any = network.xvector
        self._tdnn = fuse_conv_bn_eval(layers.tdnn.linear, layers.tdnn.nonlinear.batchnorm)
        self._blocks = [
            (_FoldedBlock(getattr(layers, f"block{number}")), _FoldedTransition(getattr(layers, f"transit{number}")))
            for number in (1, 2, 3)
        ]
        self._scale, self._shift = _affine(layers.out_nonlinear.batchnorm)
        self._dense = fuse_conv_bn_eval(layers.dense.linear, _affine_free(layers.dense.nonlinear.batchnorm))

    def frames(self, features: torch.Tensor) -> torch.Tensor:
        """(B, T, F) -> (B, C, T / 2)."""
        heads = [self._head(rows) for rows in features.transpose(1, 2).split(_HEAD_ROWS)]
        x = self._tdnn(torch.cat(heads)).relu_()  # (B, C, T / 2)
        windows, _, frames = x.shape
        x = x.transpose(0, 1).reshape(-1, windows * frames)
        for block, transition in self._blocks:
            x = transition(block(x, windows))
        x = torch.addcmul(self._shift[:, None], x, self._scale[:, None]).relu_()
        return x.view(-1, windows, frames).transpose(0, 1)

    def projected(self, statistics: torch.Tensor) -> torch.Tensor:
        """(N, 2 C) -> (N, embedding_size)."""
        return functional.linear(statistics, self._dense.weight[..., 0], self._dense.bias)


class _FoldedFrontEnd:
    """`FrontEnd` without batch norms: (B, F, T) -> (B, C, T)."""

    def __init__(self, head: FrontEnd) -> None:
        self._first = _folded(head.conv1, head.bn1)
        blocks: list[Any] = [*head.layer1, *head.layer2]
        self._blocks = [
            (
                _folded(block.conv1, block.bn1),
                _folded(block.conv2, block.bn2),
                _folded(*block.shortcut) if len(block.shortcut) else None,
            )
            for block in blocks
        ]
        self._last = _folded(head.conv2, head.bn2)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = self._first(x.unsqueeze(1).to(memory_format=torch.channels_last)).relu_()
        for first, second, shortcut in self._blocks:
            inner = second(first(x).relu_())
            x = inner.add_(x if shortcut is None else shortcut(x)).relu_()
        return self._last(x).relu_().flatten(1, 2)


@dataclass(frozen=True)
class _Limits:
    """A batch norm and a ReLU before a linear map: per channel lowest and highest value, None where none is limited."""

    lowest: torch.Tensor
    highest: torch.Tensor | None

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """x limited, in `out`: (C, frames)."""
        torch.maximum(x, self.lowest, out=out)
        return out if self.highest is None else torch.minimum(out, self.highest, out=out)


def _limited(norm: nn.BatchNorm1d, weight: torch.Tensor) -> tuple[_Limits, torch.Tensor, torch.Tensor]:
    """What W relu(norm(x)) is: limits of x, and the (out, C) weights and (out,) bias of a linear map of these."""
    scale, shift = _affine(norm)
    constant = scale == 0
    edge = torch.where(constant, 0.0, -shift / torch.where(constant, 1.0, scale))
    infinite = torch.full_like(edge, torch.inf)
    lowest = torch.where(scale >= 0, edge, -infinite)[:, None]
    highest = torch.where(scale <= 0, edge, infinite)[:, None]
    bias = weight @ torch.where(constant, shift.relu(), shift)
    return _Limits(lowest, highest if (scale <= 0).any() else None), weight * scale, bias


class _FoldedBlock:
    """`DenseBlock`: (C, frames) -> (C + layers * growth, frames), frames of all windows in a row."""

    def __init__(self, block: DenseBlock) -> None:
        self._layers = [_FoldedLayer(layer) for layer in block.children() if isinstance(layer, DenseLayer)]

    def __call__(self, x: torch.Tensor, windows: int) -> torch.Tensor:
        channels, frames = x.shape
        growth = self._layers[0].growth
        whole = x.new_empty((channels + growth * len(self._layers), frames))
        scratch = torch.empty_like(whole)
        whole[:channels] = x
        for layer in self._layers:
            layer(whole[:channels], scratch[:channels], windows, whole[channels : channels + growth])
            channels += growth
        return whole


class _FoldedLayer:
    """`DenseLayer`."""

    def __init__(self, layer: DenseLayer) -> None:
        before: Any = layer.nonlinear1
        after: Any = layer.nonlinear2
        self._limits, weight, bias = _limited(before.batchnorm, layer.linear1.weight[..., 0])
        scale, shift = _affine(after.batchnorm)
        self._weight, self._bias = scale[:, None] * weight, (scale * bias + shift)[:, None]
        self._masked = _FoldedMask(layer.cam_layer)
        self.growth = layer.cam_layer.linear_local.out_channels

    def __call__(self, x: torch.Tensor, scratch: torch.Tensor, windows: int, out: torch.Tensor) -> None:
        # Not addmm: it is a third slower than the product alone, because a bias of rows is expanded first.
        inner = torch.mm(self._weight, self._limits(x, scratch)).add_(self._bias).relu_()
        self._masked(inner.view(len(inner), windows, -1), out.view(len(out), windows, -1))


class _FoldedMask:
    """`ContextMask`, on (C, B, T)."""

    def __init__(self, layer: ContextMask) -> None:
        local: Any = layer.linear_local
        self._taps = local.weight.permute(2, 0, 1).flatten(0, 1).contiguous()
        self._kernel, self._dilation = local.kernel_size[0], local.dilation[0]
        self._first: Any = layer.linear1
        self._second: Any = layer.linear2

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> None:
        # One product for all taps of the convolution, added where they are heard: faster than a narrow convolution.
        taps = torch.mm(self._taps, x.flatten(1)).view(self._kernel, *out.shape)
        middle, length = self._kernel // 2, x.shape[-1]
        convolved = taps[middle]
        for tap, values in enumerate(taps):
            shift = (tap - middle) * self._dilation  # what is heard at t + shift counts at t
            if shift > 0:
                convolved[..., : length - shift] += values[..., shift:]
            elif shift < 0:
                convolved[..., -shift:] += values[..., :shift]
        torch.mul(convolved, mask_by_context(x, self._mask), out=out)

    def _mask(self, context: torch.Tensor) -> torch.Tensor:
        """(C, B, contexts) -> (out, B, contexts)."""
        flat = context.flatten(1)
        inner = torch.addmm(self._first.bias[:, None], self._first.weight[..., 0], flat).relu_()
        mask = torch.addmm(self._second.bias[:, None], self._second.weight[..., 0], inner).sigmoid_()
        return mask.view(len(mask), *context.shape[1:])


class _FoldedTransition:
    """`Transition`: (C, frames) -> (C / 2, frames)."""

    def __init__(self, layer: Transition) -> None:
        before: Any = layer.nonlinear
        self._limits, self._weight, bias = _limited(before.batchnorm, layer.linear.weight[..., 0])
        self._bias = bias[:, None]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mm(self._weight, self._limits(x, x)).add_(self._bias)


def _affine(norm: nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift (C,) of a batch norm in evaluation mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return scale, norm.bias - scale * norm.running_mean


def _affine_free(norm: nn.BatchNorm1d) -> nn.BatchNorm1d:
    """The same norm with the weights 1 and 0, which `fuse_conv_bn_eval` needs."""
    same = nn.BatchNorm1d(norm.num_features, eps=norm.eps).eval()
    same.running_mean, same.running_var = norm.running_mean, norm.running_var
    return same


def _folded(convolution: Any, norm: Any) -> Any:
    """The convolution with its batch norm in it, channels innermost."""
    return fuse_conv_bn_eval(convolution, norm).to(memory_format=torch.channels_last)
