"""Dr. GRPO on audio: what trl's GRPOTrainer lacks to sample answers to speech and learn from them (section 3.5).

trl has no audio path, so this overrides private methods, and trl is pinned. A generation batch is the utterances of one
optimiser step. Each is read and encoded once; its rows refer to it by index, and only that index passes through trl's
shuffling and buffering.

Shapes: U utterances of a generation batch, G rollouts of each, B rows (U * G, or those of a micro-batch), L positions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from trl import GRPOConfig, GRPOTrainer

from mlcslm.config.stages import ReinforcementConfig
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.training.batches import BatchPlan
from mlcslm.training.dataset import PromptDataset
from mlcslm.training.parts_trainer import PartsTrainer
from mlcslm.training.rollouts import GenerationPlan, ParentModel, sample_answers

# trl 1.16 still uses arguments that transformers is about to drop.
warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)

RewardFunction = Callable[..., list[float]]
"""Rewards of rows from keyword arguments: `raw` (the answers' texts) and the dataset's columns for each utterance."""


def grpo_arguments(stage: ReinforcementConfig, arguments: Mapping[str, Any]) -> GRPOConfig:
    """`arguments` (for TrainingArguments; its batch size counts utterances) extended with those of Dr. GRPO.

    Advantages are rewards minus their group's mean, not divided by its standard deviation; the loss is the sum over all
    tokens divided by a constant, rows * `max_new_tokens`. Each answer is used once, right after it was sampled.
    """
    rows = arguments["per_device_train_batch_size"] * stage.rollouts
    return GRPOConfig(
        **{**arguments, "per_device_train_batch_size": rows},
        loss_type="dr_grpo",
        scale_rewards="none",
        beta=0.0,  # set by RolloutTrainer
        num_generations=stage.rollouts,
        num_iterations=1,
        max_completion_length=stage.max_new_tokens,
        temperature=stage.temperature,
        reward_weights=[stage.reward_weights[name] for name in stage.rewards],
        use_bias_correction_kl=False,  # as published: differentiate the estimate itself (GRPO, equation 4)
        disable_dropout=True,  # else even the parent would diverge from itself
    )


class RolloutTrainer(PartsTrainer, GRPOTrainer):
    """GRPOTrainer for the speech LLM: samples, rewards and learns from `stage.rollouts` answers per utterance.

    plan: the utterances of each step; rewards: functions by name, in the order of `args.reward_weights`; options:
    AdamW's options by parameter name; measure: computes further metrics from the answers' texts and their dataset
    columns. The KL divergence is to the initial weights of `model`.
    """

    args: GRPOConfig
    num_generations: int

    def __init__(
        self,
        *,
        model: SpeechLLM,
        args: GRPOConfig,
        processor: SpeechProcessor,
        utterances: PromptDataset,
        plan: BatchPlan,
        stage: ReinforcementConfig,
        rewards: Mapping[str, RewardFunction],
        options: Mapping[str, dict[str, float]] | None = None,
        measure: Callable[..., dict[str, float]] | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        model.config.text_config.eos_token_id = processor.end_token_id  # else transformers sets it and warns
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*rollout_func.*experimental")  # why trl is pinned
            super().__init__(
                model=model,
                args=args,
                reward_funcs=[_named(name, function) for name, function in rewards.items()],
                train_dataset=Dataset.from_dict({"prompt": [""]}),  # trl requires one; `utterances` is what is read
                processing_class=processor.tokenizer,
                rollout_func=lambda *_: self._roll_out(),
                callbacks=list(callbacks),
            )
        # Not through `args`: given a beta there, trl would load a reference model by hub id, which ours does not have.
        self.beta = stage.kl_weight
        # trl only passes it on to `_get_per_token_logps_and_entropies`.
        self.ref_model = cast("Any", ParentModel(model))
        self.processor = processor
        self.utterances = utterances
        self.plan = plan
        self.stage = stage
        self.options = dict(options or {})
        self.measure = measure
        self._batch: dict[str, torch.Tensor] = {}
        self._rows = torch.empty(0, dtype=torch.long)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The planned utterances, each repeated once per rollout; their audio is read when answers are sampled."""
        plan = GenerationPlan(
            self.plan, accumulation=self.args.gradient_accumulation_steps, processes=self.accelerator.num_processes
        )
        loader = DataLoader(
            self.utterances,
            batch_sampler=plan,
            collate_fn=lambda rows: [dict(row) for row in rows for _ in range(self.num_generations)],
        )
        return self.accelerator.prepare(loader)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Read and encode the batch's audio, sample, reward; `audio_rows` (B,) is the utterance of each row."""
        examples = [self.utterances.prompt(row["key"]) for row in inputs[:: self.num_generations]]
        batch = self.processor.collate(examples, side="left")
        self._batch = {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}
        if not self._policy.model.encoder_is_trainable:
            self._batch = self._encoded(self._batch)
        self._rows = torch.arange(len(examples), device=self.accelerator.device)
        self._rows = self._rows.repeat_interleave(self.num_generations)
        return super()._generate_and_score_completions(inputs) | {"audio_rows": self._rows}

    def _roll_out(self) -> dict[str, Any]:
        """Answers to the batch, for trl: ids of each row's prompt and answer, and the answer's text as `raw`."""
        policy, size = self._policy, self.stage.batch_size
        step = (self.args.seed, self.state.global_step, self.accelerator.process_index)
        answers: list[list[int]] = []
        policy.eval()
        try:
            with torch.no_grad(), self.accelerator.autocast():
                batch = self._encoded(self._batch)
                for start in range(0, len(batch["input_ids"]), size):
                    part = {name: tensor[start : start + size] for name, tensor in batch.items()}
                    answers += sample_answers(policy, part, self.stage, (*step, start))
        finally:
            policy.train()
        answers = [self.processor.completion(ids)[0] for ids in answers]
        prompts = [
            ids[mask].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True)
        ]
        prompts = [ids for ids in prompts for _ in range(self.num_generations)]
        self.tokens_seen += sum(map(len, prompts)) + sum(map(len, answers))
        end = self.processor.end_token_id
        raw = [self.processor.decode(ids[:-1] if ids[-1] == end else ids) for ids in answers]
        return {"prompt_ids": prompts, "completion_ids": answers, "logprobs": None, "raw": raw}

    def _calculate_rewards(self, inputs: list[dict[str, Any]], *answers: Any) -> torch.Tensor:
        if self.measure is not None:
            columns = {name: [row[name] for row in inputs] for name in inputs[0]}
            for name, value in self.measure(**columns).items():
                self._log_metric(name, value)
        return super()._calculate_rewards(inputs, *answers)

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """The loss of a micro-batch, whose rows trl has drawn from the whole generation batch."""
        self._rows = inputs["audio_rows"]
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self,
        model: nn.Module | ParentModel,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **options: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """As trl's, with rows (B, L) conditioned on the audio of their utterances `self._rows`."""
        weights = model.in_place() if isinstance(model, ParentModel) else nullcontext()
        module = self._policy if isinstance(model, ParentModel) else model
        size = batch_size or len(input_ids)
        parts = []
        with weights:
            for start in range(0, len(input_ids), size):
                chunk = slice(start, start + size)
                hearing = _WithAudio(module, partial(self._audio_of, self._rows[chunk]))
                parts.append(
                    super()._get_per_token_logps_and_entropies(
                        hearing, input_ids[chunk], attention_mask[chunk], logits_to_keep, **options
                    )
                )
        log_probs, entropies, _ = zip(*parts, strict=True)
        return torch.cat(log_probs), None if entropies[0] is None else torch.cat(entropies), None

    @property
    def _policy(self) -> SpeechLLM:
        return self.accelerator.unwrap_model(self.model_wrapped)

    def _audio_of(self, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encoder frames of each row; utterances not encoded yet are encoded once, with gradients where enabled."""
        heard, index = torch.unique(rows, return_inverse=True)
        batch = {name: tensor[heard] for name, tensor in self._batch.items() if name not in _TEXT}
        return {name: tensor[index] for name, tensor in self._encoded(batch).items()}

    def _encoded(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`batch` with encoder frames in place of log-mel features."""
        batch = dict(batch)
        if "input_features" in batch:
            features, mask = batch.pop("input_features"), batch.pop("input_features_mask")
            with self.accelerator.autocast():
                frames, frames_mask = self._policy.encode_audio(features, mask)
            batch |= {"encoder_frames": frames, "encoder_frames_mask": frames_mask}
        return batch

    def _send_telemetry(self) -> None:
        """Nothing: trl would report the run to its makers, and a run makes no network requests."""

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: `checkpoint.json` describes a checkpoint."""


_TEXT = ("input_ids", "attention_mask")


class _WithAudio:
    """A model that receives its audio with every call."""

    def __init__(self, model: nn.Module, audio: Callable[[], dict[str, torch.Tensor]]) -> None:
        self._model = model
        self._audio = audio

    def __call__(self, **inputs: Any) -> Any:
        return self._model(**inputs, **self._audio())


def _named(name: str, function: RewardFunction) -> Callable[..., list[float | None]]:
    def reward(**columns: Any) -> list[float | None]:
        return [*function(**columns)]

    reward.__name__ = name
    return reward
