"""Keys and values of answers under way: a place for each, in columns in which all go on together.

A prompt is written over what an ended answer has left, so that it ends in the last column of all: nothing else moves.

Shapes: S places, N columns there is room for, P prompts, W columns of theirs, H key-value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

_ROOM = 128  # columns to spare when buffers are made


class KVCache:
    """Buffers of every layer, and which columns each place sees.

    cache: for a language model that reads one token a place; end: the column that it is written to; begin: the first
    that any place sees.
    """

    def __init__(self) -> None:
        self.cache = Cache(layers=[])
        self.end = 0
        self._first: list[int | None] = []
        self._positions = torch.empty(0)
        self._bias = torch.empty(0)

    @property
    def begin(self) -> int:
        """The first column that an answer under way sees."""
        return min((first for first in self._first if first is not None), default=self.end)

    def put(self, slots: Sequence[int], prompts: Cache, mask: torch.Tensor) -> None:
        """Write keys and values of `prompts`, padded on the left as `mask` (P, W) says, to places; some may be new."""
        if not self.cache.layers:
            self._positions = mask.new_zeros(0)
            self._bias = prompts.layers[0].keys.new_zeros(0, 0)
            self.cache = Cache(layers=[_Layer(self, layer.keys) for layer in prompts.layers])
        width = mask.shape[1]
        self._make_room(max(len(self._first), max(slots) + 1), width)
        hidden = torch.finfo(self._bias.dtype).min
        lengths = mask.sum(1)
        self._positions[slots] = lengths
        for slot, length in zip(slots, lengths.tolist(), strict=True):
            self._first[slot] = self.end - length
            self._bias[slot] = hidden
            self._bias[slot, self.end - length : self.end] = 0
        for layer, prompt in zip(self.cache.layers, prompts.layers, strict=True):
            layer.keys[slots, :, self.end - width : self.end] = prompt.keys
            layer.values[slots, :, self.end - width : self.end] = prompt.values

    def free(self, slot: int) -> None:
        """Let a place be written over."""
        self._first[slot] = None

    def keep(self, slots: Sequence[int]) -> None:
        """Drop all places but those."""
        self._first = [self._first[slot] for slot in slots]
        self._positions, self._bias = self._positions[slots], self._bias[slots]
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[slots], layer.values[slots]

    def open(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What the next column is read with: positions (S, 1), and what is added to scores, (S, 1, 1, columns)."""
        self._make_room(len(self._first), 0)
        self._bias[:, self.end] = 0
        return self._positions.unsqueeze(1), self._bias[:, None, None, self.begin : self.end + 1]

    def close(self) -> None:
        """Count the column that was read."""
        self._positions = self._positions + 1
        self.end += 1

    def _make_room(self, slots: int, width: int) -> None:
        """Have so many places, as many columns before the end as `width`, and one behind it."""
        old, kv = self._bias.shape if self._bias.ndim == 2 else (0, 0)
        if slots <= old and width <= self.end < kv:
            return
        seen = self.end - self.begin
        end = max(width, seen)

        def enlarged(tensor: torch.Tensor, axis: int, value: float) -> torch.Tensor:
            shape = list(tensor.shape)
            shape[0], shape[axis] = slots, end + _ROOM
            larger = tensor.new_full(shape, value)
            larger.narrow(0, 0, old).narrow(axis, end - seen, seen).copy_(tensor.narrow(axis, self.begin, seen))
            return larger

        for layer in self.cache.layers:
            layer.keys, layer.values = enlarged(layer.keys, 2, 0.0), enlarged(layer.values, 2, 0.0)
        self._bias = enlarged(self._bias, 1, torch.finfo(self._bias.dtype).min)
        self._positions = torch.cat([self._positions, self._positions.new_zeros(slots - old)])
        shift = end - self.end
        self._first = [first if first is None else first + shift for first in self._first]
        self._first += [None] * (slots - old)
        self.end = end


class _Layer(DynamicLayer):
    """Keys and values of a layer, (S, H, N, D)."""

    def __init__(self, kv: KVCache, like: torch.Tensor) -> None:
        super().__init__()
        self._kv = kv
        self.lazy_initialization(like, like)
        self.keys = self.values = like.new_zeros(0, like.shape[1], 0, like.shape[3])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the next column; returns all that any place sees."""
        begin, end = self._kv.begin, self._kv.end
        self.keys[:, :, end] = key_states[:, :, 0]
        self.values[:, :, end] = value_states[:, :, 0]
        return self.keys[:, :, begin : end + 1], self.values[:, :, begin : end + 1]
