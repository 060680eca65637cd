"""Answers to several prompts side by side, each of which begins and ends by itself: a batch whose places are refilled.

A batch that is generated as a whole waits for its longest answer. Here an answer that has ended leaves at once and
another prompt may take its place, whose keys and values are laid beside those of the answers under way, padded on the
left.

Shapes: S places in use, P prompts that come in, N positions kept, V vocabulary rows, H key-value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch.nn.functional import pad
from transformers import DynamicCache

from mlcslm.config_decoding import DecodingConfig
from mlcslm.decoding.loops import ends_in_loop
from mlcslm.decoding.sampling import UtteranceStreams
from mlcslm.model.speech_llm import SpeechLLM

LOOP_STEPS = 8
"""Loops are looked for once in so many tokens of an answer."""


class Slots:
    """The answers under way of a decoding with one beam, greedy or multinomial: those of `search`."""

    def __init__(self, model: SpeechLLM, decoding: DecodingConfig) -> None:
        self._model = model
        self._decoding = decoding
        ends = model.generation_config.eos_token_id
        self._ends = {ends} if isinstance(ends, int) else set(ends)
        self._never = torch.tensor(model.generation_config.suppress_tokens or [], device=model.device).long()
        self._names: list[str] = []
        self._answers: list[list[int]] = []
        self._streams: list[UtteranceStreams] = []
        self._mask = torch.zeros(0, 0, dtype=torch.long, device=model.device)
        self._keys_values: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._logits = torch.zeros(0, 0, device=model.device)

    def __len__(self) -> int:
        return len(self._names)

    @torch.inference_mode()
    def begin(self, prompts: Mapping[str, torch.Tensor], utterance_ids: Sequence[str]) -> None:
        """Take in prompts: `input_ids` padded on the left, `attention_mask`, and audio; a batch for `SpeechLLM`."""
        cache = DynamicCache()
        output = self._model(**prompts, past_key_values=cache, use_cache=True, logits_to_keep=1)
        mask, keys_values = prompts["attention_mask"], _of_layers(cache)
        if self._names:
            width = max(self._mask.shape[1], mask.shape[1])
            self._mask = torch.cat([_widened(self._mask, width), _widened(mask, width)])
            self._keys_values = [
                tuple(torch.cat([_widened(old, width), _widened(new, width)]) for old, new in zip(*pair, strict=True))
                for pair in zip(self._keys_values, keys_values, strict=True)
            ]
            self._logits = torch.cat([self._logits, output.logits[:, -1]])
        else:
            self._mask, self._keys_values, self._logits = mask, keys_values, output.logits[:, -1]
        self._names += utterance_ids
        self._answers += [[] for _ in utterance_ids]
        if self._decoding.method == "multinomial":
            seed = self._decoding.seed
            self._streams += [UtteranceStreams([name], seed, self._model.device) for name in utterance_ids]

    @torch.inference_mode()
    def advance(self) -> dict[str, list[int]]:
        """Extend each answer by a token; return those that ended by it, with their ids, whose places become free.

        An answer ends with its end token, at the limit or, where the decoding says so, in a repetition loop.
        """
        tokens = self._choose().tolist()
        for answer, token in zip(self._answers, tokens, strict=True):
            answer.append(token)
        ended = [self._has_ended(answer) for answer in self._answers]
        done = {name: ids for name, ids, end in zip(self._names, self._answers, ended, strict=True) if end}
        if done:
            self._keep([place for place, end in enumerate(ended) if not end])
        if self._names:
            self._read([answer[-1] for answer in self._answers])
        return done

    def _choose(self) -> torch.Tensor:
        """The next token of each answer, (S,)."""
        scores = self._logits.float().log_softmax(-1)
        scores[:, self._never] = -torch.inf
        if self._streams:
            noise = torch.cat([stream.gumbel(scores.shape[1]) for stream in self._streams])
            scores = scores / self._decoding.temperature + noise
        return scores.argmax(-1)

    def _has_ended(self, ids: Sequence[int]) -> bool:
        if ids[-1] in self._ends or len(ids) == self._decoding.max_new_tokens:
            return True
        return self._decoding.stop_loops and len(ids) % LOOP_STEPS == 0 and ends_in_loop(ids)

    def _keep(self, places: Sequence[int]) -> None:
        """Drop all answers but those, and the positions that only the others had."""
        self._names = [self._names[place] for place in places]
        self._answers = [self._answers[place] for place in places]
        if self._streams:
            self._streams = [self._streams[place] for place in places]
        rows = torch.tensor(places, dtype=torch.long, device=self._mask.device)
        mask = self._mask[rows]
        first = int(mask.any(0).long().argmax()) if places else 0
        self._mask = mask[:, first:]
        self._keys_values = [(keys[rows, :, first:], values[rows, :, first:]) for keys, values in self._keys_values]

    def _read(self, tokens: Sequence[int]) -> None:
        self._mask = pad(self._mask, (0, 1), value=1)
        cache = DynamicCache(self._keys_values)
        output = self._model(
            input_ids=torch.tensor(tokens, device=self._mask.device).unsqueeze(1),
            attention_mask=self._mask,
            past_key_values=cache,
            use_cache=True,
        )
        self._keys_values, self._logits = _of_layers(cache), output.logits[:, -1]


def _of_layers(cache: DynamicCache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values, (S, H, N, D) each, of every layer."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def _widened(tensor: torch.Tensor, width: int) -> torch.Tensor:
    """(S, N) or (S, H, N, D) with zeros on the left, as many as make N the width."""
    missing = width - tensor.shape[1 if tensor.ndim == 2 else 2]
    return pad(tensor, (missing, 0) if tensor.ndim == 2 else (0, 0, missing, 0))
