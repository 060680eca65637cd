"""Rollouts: answers sampled from a model to be rewarded, in which batches, and the parent's weights.

Shapes: U utterances of a generation batch, G rollouts of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.stages import ReinforcementConfig
from mlcslm.decoding.batching import is_out_of_memory
from mlcslm.decoding.search import Samples, sample_answers
from mlcslm.model.lora import merged_lora
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.training.batches import BatchPlan, Key, deal


def roll_out(
    model: SpeechLLM,
    prompts: Mapping[str, torch.Tensor],
    utterance_ids: Sequence[str],
    stage: ReinforcementConfig,
    seed: Sequence[int],
) -> list[list[int]]:
    """Ids of `stage.rollouts` answers per prompt, prompt by prompt: multinomial samples, then the best sampled beams.

    prompts: U left-padded `input_ids` with `attention_mask` and audio. An answer includes its end token, if any. All
    prompts are one batch; if that does not fit into memory, halves of it. Either way the answers are a pure function of
    (weights, prompt, utterance id, seed). Adapters are merged while sampling; no trained weight is touched.
    """
    if model.training:
        raise ValueError("the model is in training mode: its dropout would change the answers")
    with search_attention(model), merged_lora(model):
        return [ids for group in _sample(model, prompts, utterance_ids, _requests(stage), seed) for ids in group]


def _requests(stage: ReinforcementConfig) -> list[Samples]:
    settings = {"temperature": stage.temperature, "max_new_tokens": stage.max_new_tokens}
    multinomial = DecodingConfig(method="multinomial", **settings)
    requests = [Samples(multinomial, stage.rollouts - stage.beam_rollouts)]
    if stage.beam_rollouts:
        beams = DecodingConfig(method="beam+sampling", beams=stage.beams, **settings)
        requests.append(Samples(beams, stage.beam_rollouts))
    return [request for request in requests if request.count]


def _sample(
    model: SpeechLLM,
    prompts: Mapping[str, torch.Tensor],
    utterance_ids: Sequence[str],
    requests: Sequence[Samples],
    seed: Sequence[int],
) -> list[list[list[int]]]:
    try:
        return sample_answers(model, prompts, utterance_ids, requests, seed)
    except (RuntimeError, MemoryError) as error:
        if len(utterance_ids) == 1 or not is_out_of_memory(error):
            raise
    # Outside the handler, whose traceback holds on to what did not fit.
    half = len(utterance_ids) // 2
    parts = [slice(0, half), slice(half, None)]
    answers = []
    for part in parts:
        fewer = {name: tensor[part] for name, tensor in prompts.items()}
        answers += _sample(model, fewer, utterance_ids[part], requests, seed)
    return answers


@contextmanager
def search_attention(model: SpeechLLM) -> Iterator[None]:
    """Restores afterwards the attention that the search has replaced."""
    language_model = model.model.language_model
    before = language_model.config._attn_implementation
    try:
        yield
    finally:
        language_model.set_attn_implementation(before)


class ParentModel:
    """A snapshot of the weights of `model`: its parent's, which the KL divergence refers to.

    trl would only copy a PeftModel's adapters; here embedding, head and projector are trained as well.
    """

    def __init__(self, model: nn.Module) -> None:
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._weights = [parameter.detach().clone() for parameter in self._parameters]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the model the parent's weights inside this context."""
        trained = [parameter.data for parameter in self._parameters]
        try:
            for parameter, weights in zip(self._parameters, self._weights, strict=True):
                parameter.data = weights
            yield
        finally:
            for parameter, weights in zip(self._parameters, trained, strict=True):
                parameter.data = weights


class GenerationPlan:
    """Batch sampler of a process group: the steps of `plan` as GRPOTrainer requests them.

    The utterances of a step are drawn first and dealt to the processes afterwards, so that their number does not change
    them. trl requests the same generation batch with every micro-batch of a step and uses the first; accelerate
    distributes batches over the processes in turn. accumulation: micro-batches per process.
    """

    def __init__(self, plan: BatchPlan, *, accumulation: int, processes: int) -> None:
        self.plan = plan
        self.accumulation = accumulation
        self.processes = processes
        self.batch_size = plan.size // processes
        self.drop_last = True

    def __len__(self) -> int:
        return len(self.plan) * self.accumulation * self.processes

    def __iter__(self) -> Iterator[list[Key]]:
        for step in self.plan:
            shares = deal(step, self.plan.lengths, self.processes)
            for _ in range(self.accumulation):
                yield from shares


def reserves(utterances: int, step: Sequence[Key], seed: Sequence[int]) -> Iterator[Key]:
    """Utterances to replace some of `step` by, each at most once, in an order that depends on `seed` alone."""
    number, taken = max(number for number, _ in step), {index for _, index in step}
    for index in np.random.default_rng([*seed, _RESERVE_STREAM]).permutation(utterances).tolist():
        if index not in taken:
            yield number, index


_RESERVE_STREAM = 2  # keeps this random stream apart from those of batches and answers
