"""Keys and values of all beams of an utterance in one tree, whose trunk is the prompt.

A beam is a path from the prompt's end to a leaf. What beams share is read, stored and attended to once: the prompt is
computed once however many beams there are, and reordering beams moves no key or value, only who sees it.

Shapes: B utterances, K beams, P prompt positions, N cached positions (the prompt's, then K per step), H key-value
heads, G query heads per key-value head, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, Cache, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mlcslm.decoding.kv_cache import layer_states
from mlcslm.errors import UserError
from mlcslm.model.speech_llm import SpeechLLM

TREE_ATTENTION = "beam_tree"
"""The name to pass to `set_attn_implementation`."""
_PROMPT_TOKENS = 512  # read at a time on a CPU: a product of so many rows is as fast as any, and its result is cached
_MIN_GROWTH = 64  # positions that buffers grow by, at least
_MAX_ACTIVE_SHARE = 0.9  # finished utterances are dropped once no more than this share of the batch is searched
_MIN_LIVE_SHARE = 0.7  # dead branches are removed once less than this share is alive
_ATTENTION = ("full_attention", "sliding_attention")


class PrefixTree:
    """A batch's tree: `cache` for the model, the positions that each beam sees, and its current position.

    mask: (B, P), the prompts' attention mask, padded on the left.
    """

    def __init__(self, mask: torch.Tensor) -> None:
        self.cache = Cache(layer_class_to_replicate=_Buffer)
        self.visible = mask.to(torch.bool).unsqueeze(1)
        self.position = mask.long().sum(1)
        self._prompt = mask.shape[1]

    def grow(self, parents: torch.Tensor) -> None:
        """Let each new beam see itself and what its parent saw; parents: (B, K), indices into the previous beams."""
        beams = parents.shape[1]
        seen = self.visible.gather(1, parents.unsqueeze(-1).expand(-1, -1, self.visible.shape[-1]))
        themselves = torch.eye(beams, dtype=torch.bool, device=seen.device).expand(len(seen), -1, -1)
        if beams > 1:
            seen = self._without_dead_branches(seen)
        self.visible = torch.cat([seen, themselves], dim=-1)

    def read(self, model: SpeechLLM, tokens: torch.Tensor) -> torch.Tensor:
        """Logits (B, K, V) after the beams' last `tokens` (B, K), for which the tree has grown."""
        logits = read_tokens(model, self.cache, tokens, self.position, self.visible)
        self.position = self.position + 1
        return logits

    def size(self, left: int, batch: int) -> int:
        """How many utterances of a `batch` to keep while `left` are still searched: only those, once they are few."""
        return left if left <= _MAX_ACTIVE_SHARE * batch else batch

    def keep(self, utterances: torch.Tensor) -> None:
        """Drop all but these utterances."""
        self.visible, self.position = self.visible[utterances], self.position[utterances]
        for layer in self._layers:
            layer.batch_select_indices(utterances)

    def repeated(self, times: int) -> PrefixTree:
        """A tree with a copy of this one's prompts for each of `times` answers: a prompt is read once for all."""
        rows = torch.arange(len(self.visible), device=self.visible.device).repeat_interleave(times)
        tree = PrefixTree(self.visible[rows, 0])
        tree.cache = Cache(layers=[layer.copied(rows) for layer in self._layers])
        return tree

    @property
    def _layers(self) -> list[_Buffer]:
        return cast("list[_Buffer]", self.cache.layers)

    def _without_dead_branches(self, seen: torch.Tensor) -> torch.Tensor:
        alive = seen[..., self._prompt :].any(1)
        longest = int(alive.sum(1).max()) if alive.shape[1] else 0
        if longest >= _MIN_LIVE_SHARE * alive.shape[1]:
            return seen
        # Live positions first, in order; utterances with fewer of them keep some dead ones.
        kept = (~alive).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest] + self._prompt
        for layer in self._layers:
            layer.keep_positions(self._prompt, kept)
        branches = seen.gather(2, kept.unsqueeze(1).expand(-1, seen.shape[1], -1))
        return torch.cat([seen[..., : self._prompt], branches], dim=-1)


class _Buffer(DynamicLayer):
    """A layer's keys and values, (B, H, N, D), with spare capacity for the next ones."""

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self._buffers: list[torch.Tensor] = []
        self._length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append positions; returns all keys and values."""
        states = (key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = [tensor.new_empty(0) for tensor in states]
        start, self._length = self._length, self._length + key_states.shape[2]
        if not self._buffers[0].numel() or self._length > self._buffers[0].shape[2]:
            self._buffers = [self._enlarged(old, new, start) for old, new in zip(self._buffers, states, strict=True)]
        for buffer, new in zip(self._buffers, states, strict=True):
            buffer[:, :, start : self._length] = new
        return self._set(*(buffer[:, :, : self._length] for buffer in self._buffers))

    def write_prompts(
        self, rows: list[int], states: tuple[torch.Tensor, torch.Tensor], utterances: int, end: int
    ) -> None:
        """Write keys and values of the prompts of `rows`, left-padded, so that they end at position `end`."""
        if not self.is_initialized:
            self.lazy_initialization(*states)
            self._length = end
            # Zeros, since masked values count as well, with a weight of 0, and must be numbers.
            shape = (utterances, states[0].shape[1], end + _MIN_GROWTH, states[0].shape[3])
            self._buffers = [tensor.new_zeros(shape) for tensor in states]
            self._set(*(buffer[:, :, :end] for buffer in self._buffers))
        for buffer, new in zip(self._buffers, states, strict=True):
            buffer[rows, :, end - new.shape[2] : end] = new

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only these utterances."""
        self._buffers = [buffer[indices, :, :] for buffer in self._buffers]
        self._set(*(buffer[:, :, : self._length] for buffer in self._buffers))

    def copied(self, rows: torch.Tensor) -> _Buffer:
        """A copy with these rows, which may repeat."""
        copy = _Buffer()
        copy.update(*(buffer[rows, :, : self._length] for buffer in self._buffers))
        return copy

    def keep_positions(self, start: int, kept: torch.Tensor) -> None:
        """Keep everything before `start`, and of the rest only the positions `kept` (B, n)."""
        self._length = start + kept.shape[1]
        for buffer in self._buffers:
            positions = kept[:, None, :, None].expand(-1, buffer.shape[1], -1, buffer.shape[3])
            buffer[:, :, start : self._length] = buffer.gather(2, positions)
        self._set(*(buffer[:, :, : self._length] for buffer in self._buffers))

    def _enlarged(self, old: torch.Tensor, new: torch.Tensor, start: int) -> torch.Tensor:
        batch, heads, _, width = new.shape
        larger = new.new_empty(batch, heads, self._length + max(_MIN_GROWTH, self._length // 2), width)
        if start:
            larger[:, :, :start] = old[:, :, :start]
        return larger

    def _set(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = keys, values
        return keys, values


def read_prompts(model: SpeechLLM, prompts: Mapping[str, torch.Tensor]) -> tuple[PrefixTree, torch.Tensor]:
    """The tree whose trunk is the prompts, and the hidden states (B, 1, h) at their ends.

    prompts: a batch for `SpeechLLM`, padded on the left. On a CPU they are read a few at a time, of similar length and
    without most of the padding: there it costs as much as anything else, and few rows keep it busy.
    """
    mask = prompts["attention_mask"]
    trunk = PrefixTree(mask)
    parts = _similar_lengths(mask.sum(1).tolist()) if mask.device.type == "cpu" else []
    if len(parts) < 2:
        hidden = model.model(**prompts, past_key_values=trunk.cache, use_cache=True).last_hidden_state
        return trunk, hidden[:, -1:]
    layers: list[_Buffer] = []
    ends: list[torch.Tensor] = []
    for rows in parts:
        cache = DynamicCache()
        hidden = model.model(**_rows_of(prompts, rows), past_key_values=cache, use_cache=True).last_hidden_state
        ends.append(hidden[:, -1:])
        layers = layers or [_Buffer() for _ in cache.layers]
        for layer, states in zip(layers, layer_states(cache), strict=True):
            layer.write_prompts(rows, states, *mask.shape)
    trunk.cache = Cache(layers=[*layers])
    order = torch.tensor([row for rows in parts for row in rows])
    return trunk, torch.cat(ends)[order.argsort()]


def _similar_lengths(lengths: list[int]) -> list[list[int]]:
    """Rows by length, the longest first, in parts of up to `_PROMPT_TOKENS` tokens with padding."""
    parts: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if not parts or lengths[parts[-1][0]] * (len(parts[-1]) + 1) > _PROMPT_TOKENS:
            parts.append([])
        parts[-1].append(row)
    return parts


def _rows_of(prompts: Mapping[str, torch.Tensor], rows: list[int]) -> dict[str, torch.Tensor]:
    """Some prompts of a batch, without padding that none of them needs."""
    chosen = {name: tensor[rows] for name, tensor in prompts.items()}
    length = int(chosen["attention_mask"].sum(1).max())
    for name in ("input_ids", "attention_mask"):
        chosen[name] = chosen[name][:, -length:]
    if "encoder_frames_mask" in chosen:
        frames = int(chosen["encoder_frames_mask"].sum(1).max())
        for name in ("encoder_frames", "encoder_frames_mask"):
            chosen[name] = chosen[name][:, :frames]
    return chosen


def prepare_for_trees(model: SpeechLLM, longest: int) -> None:
    """Set up the language model to read trees. Raises UserError if it would misread one of `longest` positions."""
    config = model.config.text_config
    kinds = set(getattr(config, "layer_types", None) or ())
    window = getattr(config, "sliding_window", None) if "sliding_attention" in kinds else None
    if other := kinds - set(_ATTENTION):
        raise UserError(
            f"models.language_model: found layers of kind {', '.join(sorted(other))}; decoding needs a language model "
            f"with {' or '.join(_ATTENTION)} only."
        )
    if window is not None and longest > window:
        raise UserError(
            f"models.language_model: its attention spans {window} tokens, but prompt and answer may take {longest}. "
            "Lower max_new_tokens."
        )
    model.model.language_model.set_attn_implementation(TREE_ATTENTION)


def read_tokens(
    model: SpeechLLM, cache: Cache, tokens: torch.Tensor, position: torch.Tensor, visible: torch.Tensor
) -> torch.Tensor:
    """Logits (B, K, V) after `tokens` (B, K), which are at `position` (B,) and see what is `visible` (B, K, N)."""
    embedded = model.get_input_embeddings()(tokens)
    mask = torch.zeros_like(visible, dtype=embedded.dtype)
    mask.masked_fill_(~visible, torch.finfo(embedded.dtype).min)
    config = model.config.text_config
    shared = config.num_attention_heads // (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    mask = mask.repeat(1, shared, 1)  # for all layers: see `_attention`
    output = model.model.language_model(
        inputs_embeds=embedded,
        attention_mask=mask.unsqueeze(1),
        position_ids=position.unsqueeze(1).expand_as(tokens),
        past_key_values=cache,
        use_cache=True,
    )
    return model.compute_logits(output.last_hidden_state)


def _attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Treats query heads that share keys and values as extra beams, so that nothing is repeated for them.

    Masks of trees have a row for each of these queries.
    """
    batch, heads, beams, width = query.shape
    shared = heads // key.shape[1]
    # Prompts have a mask for one query head, and far more queries than there are beams: reading is not what they cost.
    if attention_mask is None or attention_mask.dtype == torch.bool or shared == 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    query = query.reshape(batch, key.shape[1], shared * beams, width)
    mask = attention_mask if attention_mask.shape[2] == shared * beams else attention_mask.repeat(1, 1, shared, 1)
    scaling = options.get("scaling")
    output = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    return output.reshape(batch, heads, beams, width).transpose(1, 2), None


AttentionInterface.register(TREE_ATTENTION, _attention)
AttentionMaskInterface.register(TREE_ATTENTION, sdpa_mask)
