"""Rollouts: answers sampled from a model to be rewarded, in which batches, and the parent's weights.

Shapes: U utterances of a generation batch, G rollouts of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from mlcslm.config.stages import ReinforcementConfig
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.training.batches import BatchPlan, Key


def sample_answers(
    model: SpeechLLM, prompts: Mapping[str, torch.Tensor], stage: ReinforcementConfig, seed: Sequence[int]
) -> list[list[int]]:
    """Ids of `stage.rollouts` answers per prompt, prompt by prompt: multinomial samples, then the best sampled beams.

    prompts: U left-padded `input_ids` with `attention_mask` and audio. End and padding tokens are kept. A pure function
    of its arguments: the global random state is neither read nor changed.
    """
    options: dict[str, Any] = {"do_sample": True, "temperature": stage.temperature, "top_k": 0, "top_p": 1.0}
    options |= {"max_new_tokens": stage.max_new_tokens}
    length, utterances = prompts["input_ids"].shape[1], len(prompts["input_ids"])
    searches = [(stage.rollouts - stage.beam_rollouts, 1), (stage.beam_rollouts, stage.beams)]
    answers: list[list[list[int]]] = [[] for _ in range(utterances)]
    device = prompts["input_ids"].device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(int(np.random.SeedSequence(list(seed)).generate_state(1, np.uint64)[0]))
        for count, beams in searches:
            if count > 0:
                output = model.generate(**prompts, **options, num_beams=beams, num_return_sequences=count)
                for row, ids in enumerate(output[:, length:].tolist()):
                    answers[row // count].append(ids)
    return [ids for group in answers for ids in group]


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
    """Batch sampler of a process group: the batches of `plan` as GRPOTrainer requests them.

    trl requests the same generation batch with every micro-batch of a step and uses the first; accelerate distributes
    batches over the processes in turn.
    """

    def __init__(self, plan: BatchPlan, *, accumulation: int, processes: int) -> None:
        self.plan = plan
        self.accumulation = accumulation
        self.processes = processes
        self.batch_size = plan.batch_size
        self.drop_last = True

    def __len__(self) -> int:
        return len(self.plan) * self.accumulation

    def __iter__(self) -> Iterator[list[Key]]:
        batches = iter(self.plan)
        for _ in range(len(self.plan) // self.processes):
            step = [next(batches) for _ in range(self.processes)]
            for _ in range(self.accumulation):
                yield from step
