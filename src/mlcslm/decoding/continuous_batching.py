"""Continuous batching: answers to many prompts side by side, each starting and ending on its own, in refilled slots.

A batch that is generated as a whole waits for its longest answer. Here an answer that ends frees its slot at once, and
another prompt can take it while the others continue.

Shapes: S slots, P new prompts, V vocabulary rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from transformers import DynamicCache

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.kv_cache import KVCache
from mlcslm.decoding.loops import LOOP_STEPS, ends_in_loop
from mlcslm.decoding.prefix_tree import prepare_for_trees
from mlcslm.decoding.sampling import UtteranceStreams
from mlcslm.model.speech_llm import SpeechLLM


@dataclass
class _Answer:
    """An unfinished answer; stream: the noise it is sampled with."""

    utterance_id: str
    stream: UtteranceStreams | None
    ids: list[int] = field(default_factory=list)


class ContinuousBatch:
    """Unfinished answers of a one-beam decoding, greedy or multinomial: the same answers as `search` gives."""

    def __init__(self, model: SpeechLLM, decoding: DecodingConfig) -> None:
        self._model = model
        self._decoding = decoding
        ends = model.generation_config.eos_token_id
        self._ends = {ends} if isinstance(ends, int) else set(ends)
        self._never = torch.tensor(model.generation_config.suppress_tokens or [], device=model.device).long()
        self._slots: list[_Answer | None] = []
        self._kv = KVCache()
        self._logits = torch.empty(0, device=model.device)
        self._longest = 0

    def __len__(self) -> int:
        """Unfinished answers."""
        return sum(answer is not None for answer in self._slots)

    @torch.inference_mode()
    def begin(self, prompts: Mapping[str, torch.Tensor], utterance_ids: Sequence[str]) -> None:
        """Add prompts: `input_ids` padded on the left, `attention_mask`, and audio; a batch for `SpeechLLM`.

        Raises UserError if the language model's attention cannot span prompt and answer.
        """
        mask = prompts["attention_mask"]
        longest = mask.shape[1] + self._decoding.max_new_tokens
        if longest > self._longest:
            prepare_for_trees(self._model, longest)
            self._longest = longest
        cache = DynamicCache()
        logits = self._model(**prompts, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        free = [slot for slot, answer in enumerate(self._slots) if answer is None]
        slots = [*free, *range(len(self._slots), len(self._slots) + len(mask))][: len(mask)]
        more = max(0, max(slots) + 1 - len(self._slots))
        self._slots += [None] * more
        self._kv.put(slots, cache, mask)
        self._logits = torch.cat([self._logits, logits[:more]]) if len(self._logits) else logits[:more].clone()
        self._logits[slots] = logits
        for slot, name in zip(slots, utterance_ids, strict=True):
            self._slots[slot] = _Answer(name, self._stream(name))

    @torch.inference_mode()
    def advance(self) -> dict[str, list[int]]:
        """Extend each answer by one token; return the ids of those that ended, by utterance: their slots are free.

        An answer ends with its end token, at the limit or, if the decoding says so, in a repetition loop.
        """
        tokens = self._choose().tolist()
        done: dict[str, list[int]] = {}
        for slot, answer in enumerate(self._slots):
            if answer is None:
                continue
            answer.ids.append(tokens[slot])
            if self._has_ended(answer.ids):
                done[answer.utterance_id] = answer.ids
                self._slots[slot] = None
                self._kv.free(slot)
        if len(self) <= len(self._slots) // 2:
            self._drop_free_slots()
        if self._slots:
            self._read()
        return done

    def _stream(self, utterance_id: str) -> UtteranceStreams | None:
        if self._decoding.method != "multinomial":
            return None
        return UtteranceStreams([utterance_id], self._decoding.seed, self._model.device)

    def _choose(self) -> torch.Tensor:
        """The next token of each slot, (S,)."""
        scores = self._logits.float().log_softmax(-1)
        scores[:, self._never] = -torch.inf
        if self._decoding.method == "multinomial":
            scores = scores / self._decoding.temperature
            for slot, answer in enumerate(self._slots):
                if answer is not None and answer.stream is not None:
                    scores[slot] += answer.stream.gumbel(scores.shape[1])[0]
        return scores.argmax(-1)

    def _has_ended(self, ids: Sequence[int]) -> bool:
        if ids[-1] in self._ends or len(ids) == self._decoding.max_new_tokens:
            return True
        return self._decoding.stop_loops and len(ids) % LOOP_STEPS == 0 and ends_in_loop(ids)

    def _drop_free_slots(self) -> None:
        kept = [slot for slot, answer in enumerate(self._slots) if answer is not None]
        self._slots = [self._slots[slot] for slot in kept]
        self._logits = self._logits[kept]
        self._kv.keep(kept)

    def _read(self) -> None:
        """Read the last token of each answer, and an arbitrary one in free slots, which nothing sees."""
        tokens = [answer.ids[-1] if answer is not None else 0 for answer in self._slots]
        embedded = self._model.get_input_embeddings()(torch.tensor(tokens, device=self._logits.device).unsqueeze(1))
        positions, bias = self._kv.open()
        output = self._model.model.language_model(
            inputs_embeds=embedded,
            attention_mask=bias,
            position_ids=positions,
            past_key_values=self._kv.cache,
            use_cache=True,
        )
        self._kv.close()
        self._logits = self._model.compute_logits(output.last_hidden_state)[:, -1]
