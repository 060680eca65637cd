"""Static-cache beam trees: shapes stay the same from step to step, so a step is compiled once and replayed on a GPU.

A language model's step on a GPU is hundreds of small kernels, and launching each from Python takes longer than running
it. A compiled step is launched as a whole (a CUDA graph), but only ever with the same shapes and memory. So the cache
has capacity for the whole answer from the start, unwritten positions are masked, dead branches stay, and finished
utterances stay too until three quarters of the batch are done. The prompt is still read by a `PrefixTree`, as its
length differs from batch to batch.

Shapes: B utterances, K beams, N positions of capacity, H key-value heads, D head width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from mlcslm.decoding.kv_cache import layer_states
from mlcslm.decoding.prefix_tree import PrefixTree, read_tokens
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.runtime.progress import say

_CAPACITY_STEP = 256  # capacity is a multiple of this: few shapes, and masks aligned as kernels need them
_SHRINK_FACTOR = 4  # a batch shrinks by this factor, never gradually: every size has to be compiled
_MAX_SHAPES = 64  # compiled shapes per function, at most

Read = Callable[..., torch.Tensor]


class CompiledTrees:
    """A model's compiled steps, and the memory that its batches' trees use in turn.

    compiler: turns a function into its compiled version; by default PyTorch's compiler with CUDA graphs. If it fails,
    steps continue uncompiled, with a message.
    """

    def __init__(self, compiler: Callable[[Read], Read] | None = None) -> None:
        self._compiled = (compiler or _compiled)(read_tokens)
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []

    def plant(self, tree: PrefixTree, beams: int, limit: int) -> CompiledTree:
        """The tree that continues from `tree`, having read a batch's prompts: `limit` tokens of `beams` beams."""
        batch, _, prompt = tree.visible.shape
        capacity = _CAPACITY_STEP * math.ceil((prompt + beams * limit) / _CAPACITY_STEP)
        buffers = self._buffers_for(tree.cache, batch, capacity)
        return CompiledTree(tree, buffers, beams, self.read)

    def read(self, *arguments: Any) -> torch.Tensor:
        """`read_tokens`, compiled."""
        torch.compiler.cudagraph_mark_step_begin()
        try:
            return self._compiled(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = str(error).strip().split("\n")[0]
            say(f"the decoding step cannot be compiled; continuing without. ({reason})")
            self._compiled = read_tokens
            return read_tokens(*arguments)

    def release(self) -> None:
        """Free the memory: a smaller batch needs less."""
        self._buffers = []

    def _buffers_for(self, cache: Cache, batch: int, capacity: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """(B, H, N, D) keys and values of each layer: the existing ones, or larger ones if those are too small."""
        if not self._buffers or self._buffers[0][0].shape[0] < batch or self._buffers[0][0].shape[2] != capacity:
            self._buffers = []  # free the old ones first
            torch._dynamo.config.recompile_limit = max(_MAX_SHAPES, torch._dynamo.config.recompile_limit)
            new = _buffer(batch, capacity)
            self._buffers = [(new(keys), new(values)) for keys, values in layer_states(cache)]
        return self._buffers


class CompiledTree:
    """A `PrefixTree` in static memory, for a batch whose prompts one has read: same beams, same logits."""

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
        self._slots = self._beams + prompt  # positions that the next tokens are written to
        self._buffers = buffers
        for (keys, values), (prompt_keys, prompt_values) in zip(buffers, layer_states(tree.cache), strict=True):
            keys[:batch, :, :prompt] = prompt_keys
            values[:batch, :, :prompt] = prompt_values
        self._cache = self._cache_of(batch)

    def size(self, left: int, batch: int) -> int:
        """How many utterances of a `batch` to keep while `left` are still searched: all, or a quarter."""
        fewer = math.ceil(batch / _SHRINK_FACTOR)
        return fewer if left <= fewer else batch

    def keep(self, utterances: torch.Tensor) -> None:
        """Drop all but these utterances."""
        self.visible, self.position = self.visible[utterances], self.position[utterances]
        for pair in self._buffers:
            for buffer in pair:
                buffer[: len(utterances)] = buffer[utterances]
        self._cache = self._cache_of(len(utterances))

    def grow(self, parents: torch.Tensor) -> None:
        """Let each new beam see itself and what its parent saw; parents: (B, K), indices into the previous beams."""
        self.visible = self.visible.gather(1, parents.unsqueeze(-1).expand(-1, -1, self.visible.shape[-1]))
        self.visible[:, self._beams, self._slots] = True

    def read(self, model: SpeechLLM, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (B, K, V) after the beams' last `tokens` (B, K), for which the tree has grown."""
        logits = self._read(model, self._cache, tokens, self.position, self.visible)
        self.position = self.position + 1
        self._slots += len(self._beams)
        return logits

    def _cache_of(self, batch: int) -> Cache:
        return Cache(layers=[_StaticLayer(keys[:batch], values[:batch], self._slots) for keys, values in self._buffers])


class _StaticLayer(DynamicLayer):
    """A layer's keys and values (B, H, N, D), updated in place; slots: (K,) positions to write next."""

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self._slots = keys, values, slots
        for tensor in (keys, values, slots):
            torch._dynamo.mark_static_address(tensor)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the next positions; returns keys and values at full capacity."""
        self.keys.index_copy_(2, self._slots, key_states)
        self.values.index_copy_(2, self._slots, value_states)
        return self.keys, self.values


def _compiled(read: Read) -> Read:
    return torch.compile(read, mode="reduce-overhead", dynamic=False)


def _buffer(batch: int, capacity: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def like(states: torch.Tensor) -> torch.Tensor:
        _, heads, _, width = states.shape
        return states.new_zeros(batch, heads, capacity, width)

    return like
