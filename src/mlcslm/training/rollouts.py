"""Rollouts: answers sampled from a model to be rewarded, which batches of them, and what the model was before.

Shapes: U utterances of a generation batch, G rollouts of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from mlcslm.config.stages import ReinforcementConfig
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.training.batches import BatchPlan, Key


def sample_answers(
    model: SpeechLLM, prompts: Mapping[str, torch.Tensor], stage: ReinforcementConfig, seed: Sequence[int]
) -> list[list[int]]:
    """Ids of `stage.rollouts` answers to each of U prompts, in turn: multinomial samples, then the best sampled beams.

    prompts: `input_ids` padded on the left with `attention_mask` and audio. Ends and paddings are kept. A pure function
    of its arguments: the global random state is neither read nor changed.
    """
    options = {"do_sample": True, "temperature": stage.temperature, "top_k": 0, "top_p": 1.0}
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
    """The weights that `model` had when this was made: those of its parent, which the KL divergence refers to.

    trl would copy the adapters of a PeftModel alone; embedding, head and projector are trained here as well.
    """

    def __init__(self, model: nn.Module) -> None:
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._weights = [parameter.detach().clone() for parameter in self._parameters]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model have the parent's weights for a while."""
        trained = [parameter.data for parameter in self._parameters]
        try:
            for parameter, weights in zip(self._parameters, self._weights, strict=True):
                parameter.data = weights
            yield
        finally:
            for parameter, weights in zip(self._parameters, trained, strict=True):
                parameter.data = weights


class GenerationPlan:
    """Batch sampler of a process group: the batches of `plan` as GRPOTrainer asks for them.

    trl asks for the same generation batch with every micro-batch of a step, and uses the first; accelerate deals
    batches out to the processes in turn.
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
