"""The KV cache of unfinished answers: a slot for each, in columns that all of them fill in step.

A prompt overwrites what an ended answer has left, right-aligned with the current last column: nothing else moves.

Shapes: S slots, N columns of capacity, P prompts, W prompt columns, H key-value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

_SPARE_COLUMNS = 128  # allocated beyond the end when buffers grow


def layer_states(cache: Cache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values, (B, H, N, D) each, of every layer of a cache that a language model has filled."""
    # Attention layers only: `prefix_tree.prepare_for_trees` refuses all others.
    layers = cast("list[_Filled]", cache.layers)
    return [(layer.keys, layer.values) for layer in layers]


class _Filled(DynamicLayer):
    """An attention layer that has been written to."""

    keys: torch.Tensor
    values: torch.Tensor


class KVCache:
    """Buffers of every layer, and which columns each slot sees.

    cache: for a language model that reads one token per slot; end: the column that token is written to; begin: the
    first column that any slot sees.
    """

    def __init__(self) -> None:
        self._layers: list[_Layer] = []
        self.cache = Cache(layers=[])
        self.end = 0
        self._first: list[int | None] = []
        self._positions = torch.empty(0)
        self._bias = torch.empty(0)

    @property
    def begin(self) -> int:
        """The first column that an unfinished answer sees."""
        return min((first for first in self._first if first is not None), default=self.end)

    def put(self, slots: Sequence[int], prompts: Cache, mask: torch.Tensor) -> None:
        """Write keys and values of `prompts`, left-padded as in `mask` (P, W), to slots; some may be new."""
        states = layer_states(prompts)
        if not self._layers:
            self._positions = mask.new_zeros(0)
            self._bias = states[0][0].new_zeros(0, 0)
            self._layers = [_Layer(self, keys) for keys, _ in states]
            self.cache = Cache(layers=[*self._layers])
        width = mask.shape[1]
        self._ensure_capacity(max(len(self._first), max(slots) + 1), width)
        hidden = torch.finfo(self._bias.dtype).min
        lengths = mask.sum(1)
        self._positions[slots] = lengths
        for slot, length in zip(slots, lengths.tolist(), strict=True):
            self._first[slot] = self.end - length
            self._bias[slot] = hidden
            self._bias[slot, self.end - length : self.end] = 0
        for layer, (keys, values) in zip(self._layers, states, strict=True):
            layer.keys[slots, :, self.end - width : self.end] = keys
            layer.values[slots, :, self.end - width : self.end] = values

    def free(self, slot: int) -> None:
        """Let a slot be overwritten."""
        self._first[slot] = None

    def keep(self, slots: Sequence[int]) -> None:
        """Drop all but these slots."""
        self._first = [self._first[slot] for slot in slots]
        self._positions, self._bias = self._positions[slots], self._bias[slots]
        for layer in self._layers:
            layer.keys, layer.values = layer.keys[slots], layer.values[slots]

    def open(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs for reading the next column: positions (S, 1) and attention bias (S, 1, 1, columns)."""
        self._ensure_capacity(len(self._first), 0)
        self._bias[:, self.end] = 0
        return self._positions.unsqueeze(1), self._bias[:, None, None, self.begin : self.end + 1]

    def close(self) -> None:
        """Advance past the column that was read."""
        self._positions = self._positions + 1
        self.end += 1

    def _ensure_capacity(self, slots: int, width: int) -> None:
        """Ensure capacity for `slots` slots, `width` columns before the end, and one after it."""
        old, columns = self._bias.shape if self._bias.ndim == 2 else (0, 0)
        if slots <= old and width <= self.end < columns:
            return
        seen = self.end - self.begin
        end = max(width, seen)

        def enlarged(tensor: torch.Tensor, axis: int, value: float) -> torch.Tensor:
            shape = list(tensor.shape)
            shape[0], shape[axis] = slots, end + _SPARE_COLUMNS
            larger = tensor.new_full(shape, value)
            larger.narrow(0, 0, old).narrow(axis, end - seen, seen).copy_(tensor.narrow(axis, self.begin, seen))
            return larger

        for layer in self._layers:
            layer.keys, layer.values = enlarged(layer.keys, 2, 0.0), enlarged(layer.values, 2, 0.0)
        self._bias = enlarged(self._bias, 1, torch.finfo(self._bias.dtype).min)
        self._positions = torch.cat([self._positions, self._positions.new_zeros(slots - old)])
        shift = end - self.end
        self._first = [first if first is None else first + shift for first in self._first]
        self._first += [None] * (slots - old)
        self.end = end


class _Layer(_Filled):
    """A layer's keys and values, (S, H, N, D)."""

    def __init__(self, kv: KVCache, like: torch.Tensor) -> None:
        super().__init__()
        self._kv = kv
        self.lazy_initialization(like, like)
        self.keys = self.values = like.new_zeros(0, like.shape[1], 0, like.shape[3])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the next column; returns every column that any slot sees."""
        begin, end = self._kv.begin, self._kv.end
        self.keys[:, :, end] = key_states[:, :, 0]
        self.values[:, :, end] = value_states[:, :, 0]
        return self.keys[:, :, begin : end + 1], self.values[:, :, begin : end + 1]
