"""Beam trees whose shapes stay the same from step to step, so that a step can be compiled once and replayed on a GPU.

A step of a language model on a GPU is hundreds of small kernels, and to launch each from Python takes longer than to
run it. A compiled step is launched as a whole (a CUDA graph), but only ever with the same shapes and memory. So keys
and values have room for the whole answer from the start, what is not written yet is masked, dead branches stay, and
utterances whose answers are known stay too, until three quarters of the batch are known. The prompt is still read by a
`PrefixTree`, as its length differs from batch to batch.

Shapes: B utterances, K beams, N positions there is room for, H key-value heads, D head width.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from mlcslm.decoding.prefix_tree import PrefixTree, read_tokens
from mlcslm.model.speech_llm import SpeechLLM

_ROOM = 256  # positions that there is room for are a multiple of this: few shapes, and masks aligned as kernels want
_FEWER = 4  # a batch becomes so many times smaller once it can: each of its sizes is compiled
_SHAPES = 64  # shapes of one function that are compiled, at most

Read = Callable[..., torch.Tensor]


class CompiledTrees:
    """Compiled steps of a model, and the memory that the trees of its batches share, one after the other.

    compiler: makes of a function another; by default PyTorch's compiler with CUDA graphs. Where it fails, steps go on
    uncompiled, with a message.
    """

    def __init__(self, compiler: Callable[[Read], Read] | None = None) -> None:
        self._compiled = (compiler or _compiled)(read_tokens)
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def plant(self, tree: PrefixTree, beams: int, limit: int) -> CompiledTree:
        """The tree that goes on from `tree`, a batch's prompts just read, for `limit` tokens of `beams` beams."""
        batch, _, prompt = tree.visible.shape
        capacity = _ROOM * math.ceil((prompt + beams * limit) / _ROOM)
        buffers = self._buffers_for(tree.cache, batch, capacity)
        return CompiledTree(tree, buffers, beams, self.read)

    def read(self, *arguments: Any) -> torch.Tensor:
        """`read_tokens`, compiled."""
        torch.compiler.cudagraph_mark_step_begin()
        try:
            return self._compiled(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().split("\n")[0]
            print(f"The decoding step cannot be compiled; going on without. ({reason})", file=sys.stderr)
            self._compiled = read_tokens
            return read_tokens(*arguments)

    def release(self) -> None:
        """Give the memory back: a smaller batch takes less of it."""
        self._buffers = []

    def _buffers_for(self, cache: Cache, batch: int, capacity: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(B, H, N, D) keys and values of each layer: those there are, or larger ones."""
        if not self._buffers or self._buffers[0][0].shape[0] < batch or self._buffers[0][0].shape[2] != capacity:
            self._buffers = []  # frees the old ones first
            torch._dynamo.config.recompile_limit = max(_SHAPES, torch._dynamo.config.recompile_limit)
            self._buffers = [tuple(map(_buffer(batch, capacity), (one.keys, one.values))) for one in cache.layers]
        return self._buffers


class CompiledTree:
    """As `PrefixTree`, for a batch whose prompts one has read: same beams, same logits, other memory."""

    def __init__(
        self, tree: PrefixTree, buffers: list[tuple[torch.Tensor, torch.Tensor]], beams: int, read: Read
    ) -> None:
        batch, one, prompt = tree.visible.shape
        device = tree.visible.device
        capacity = buffers[0][0].shape[2]
        self.visible = torch.zeros(batch, one, capacity, dtype=torch.bool, device=device)
        self.visible[..., :prompt] = tree.visible
        self.position = tree.position
        self._read = read
        self._beams = torch.arange(beams, device=device)
        self._places = self._beams + prompt  # positions that the next tokens are written to
        self._buffers = buffers
        for (keys, values), layer in zip(buffers, tree.cache.layers, strict=True):
            keys[:batch, :, :prompt] = layer.keys
            values[:batch, :, :prompt] = layer.values
        self._cache = self._cache_of(batch)

    def size(self, left: int, batch: int) -> int:
        """How many utterances of a `batch` are kept of which `left` are searched: all, or a fourth of them."""
        fewer = math.ceil(batch / _FEWER)
        return fewer if left <= fewer else batch

    def keep(self, utterances: torch.LongTensor) -> None:
        """Drop all utterances but those."""
        self.visible, self.position = self.visible[utterances], self.position[utterances]
        for pair in self._buffers:
            for buffer in pair:
                buffer[: len(utterances)] = buffer[utterances]
        self._cache = self._cache_of(len(utterances))

    def grow(self, parents: torch.LongTensor) -> None:
        """Let new beams, of `parents` (B, K) among the beams before, see what these saw and themselves."""
        self.visible = self.visible.gather(1, parents.unsqueeze(-1).expand(-1, -1, self.visible.shape[-1]))
        self.visible[:, self._beams, self._places] = True

    def read(self, model: SpeechLLM, tokens: torch.LongTensor) -> torch.Tensor:
        """Logits (B, K, V) after the last `tokens` (B, K) of the beams, by which the tree has grown."""
        logits = self._read(model, self._cache, tokens, self.position, self.visible)
        self.position = self.position + 1
        self._places += len(self._beams)
        return logits

    def _cache_of(self, batch: int) -> Cache:
        return Cache(layers=[_FixedLayer(keys[:batch], values[:batch], self._places) for keys, values in self._buffers])


class _FixedLayer(DynamicLayer):
    """Keys and values (B, H, N, D) of a layer, in place; places: (K,) positions to write next."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self._places = keys, values, slots
        for tensor in (keys, values, slots):
            torch._dynamo.mark_static_address(tensor)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the next positions; returns all keys and values there is room for."""
        self.keys.index_copy_(2, self._places, key_states)
        self.values.index_copy_(2, self._places, value_states)
        return self.keys, self.values


def _compiled(read: Read) -> Read:
    return torch.compile(read, mode="reduce-overhead", dynamic=False)


def _buffer(batch: int, capacity: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def like(states: torch.Tensor) -> torch.Tensor:
        _, heads, _, width = states.shape
        return states.new_zeros(batch, heads, capacity, width)

    return like
