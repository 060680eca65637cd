"""Reinforcement on audio: what trl's GRPOTrainer lacks to sample answers to speech and learn from them (section 3.5).

trl has no audio path, so this overrides private methods, and trl is pinned. A generation batch is the utterances of one
optimiser step. Each is read and encoded once; its rows refer to it by index, and only that index passes through trl's
shuffling and buffering.

Shapes: U utterances of a generation batch, G rollouts of each, B rows (U * G, or those of a micro-batch), L positions.
"""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from trl import GRPOConfig, GRPOTrainer

from mlcslm.config.stages import ReinforcementConfig
from mlcslm.model.processor import IGNORED_LABEL, SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.training.batches import BatchPlan
from mlcslm.training.dataset import PromptDataset
from mlcslm.training.parts_trainer import PartsTrainer
from mlcslm.training.rollouts import GenerationPlan, ParentModel, reserves, roll_out

# trl 1.16 still uses arguments that transformers is about to drop.
warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)

RewardFunction = Callable[..., list[float]]
"""Rewards of rows from keyword arguments: `raw` (the answers' texts) and the dataset's columns for each utterance."""


def grpo_arguments(stage: ReinforcementConfig, arguments: Mapping[str, Any]) -> GRPOConfig:
    """`arguments` (for TrainingArguments; its batch size counts utterances) extended with those of the stage's loss.

    Dr. GRPO: advantages are rewards minus their group's mean, not divided by its standard deviation; the loss is the
    sum over all tokens divided by a constant, rows * `max_new_tokens`. GRPO divides by the standard deviation, and by
    each answer's own length. Each answer is used once, right after it was sampled.
    """
    weights = [stage.reward_weights[name] for name in stage.rewards]
    rows = arguments["per_device_train_batch_size"] * stage.rollouts
    return GRPOConfig(
        **{**arguments, "per_device_train_batch_size": rows},
        loss_type="grpo" if stage.loss == "grpo" else "dr_grpo",
        scale_rewards="group" if stage.loss == "grpo" else "none",
        beta=0.0,  # set by RolloutTrainer
        num_generations=stage.rollouts,
        num_iterations=1,
        max_completion_length=stage.max_new_tokens,
        temperature=stage.temperature,
        reward_weights=[*weights, *(-penalty for penalty in stage.penalties.values())],
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
        # trl only passes it on to `_get_per_token_logps_and_entropies`, and without a beta not even that.
        self.ref_model = cast("Any", ParentModel(model) if stage.kl_weight else None)
        self.processor = processor
        self.utterances = utterances
        self.plan = plan
        self.stage = stage
        self.options = dict(options or {})
        self.measure = measure
        self._batch: dict[str, torch.Tensor] = {}
        self._targets: list[list[int]] = []
        self._answers: list[list[int]] = []
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
        heard = inputs[:: self.num_generations]
        examples = [self.utterances.prompt(row["key"]) for row in heard]
        self._answers = self._sample(heard, examples)
        if self.stage.replacement_rounds and self._replace_flat_groups(heard, examples):
            self._load(examples)
        inputs = [dict(row) for row in heard for _ in range(self.num_generations)]
        self._rows = torch.arange(len(heard), device=self.accelerator.device)
        self._rows = self._rows.repeat_interleave(self.num_generations)
        batch = super()._generate_and_score_completions(inputs) | {"audio_rows": self._rows}
        if self.stage.loss == "mwer":
            batch |= self._expectations(batch, self._totals(heard, self._answers))
            self._targets = [self.utterances.target(row["key"]) for row in heard]
        return batch

    def _load(self, examples: Sequence[Mapping[str, Any]]) -> None:
        """Make `examples` the utterances that rows refer to."""
        batch = self.processor.collate(examples, side="left")
        self._batch = {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}
        if not self._policy.model.encoder_is_trainable:
            self._batch = self._encoded(self._batch)

    def _sample(self, heard: Sequence[dict[str, Any]], examples: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        """Ids of the answers to each utterance; loads the examples."""
        self._load(examples)
        policy, seed = self._policy, (self.args.seed, self.state.global_step)
        policy.eval()
        try:
            with torch.no_grad(), self.accelerator.autocast():
                names = [row["utterance_id"] for row in heard]
                return roll_out(policy, self._encoded(self._batch), names, self.stage, seed)
        finally:
            policy.train()

    def _replace_flat_groups(self, heard: list[dict[str, Any]], examples: list[dict[str, Any]]) -> bool:
        """Replace, in place, utterances whose answers all earn the same by others of the plan, also in `_answers`.

        What replaces them depends on their number in all processes, not on who has them. Returns whether any was.
        """
        group, replaced = self.num_generations, 0
        keys = [key for share in self._gathered([row["key"] for row in heard]) for key in share]
        rest = reserves(len(self.utterances), keys, (self.args.seed, self.state.global_step))
        for _ in range(self.stage.replacement_rounds):
            totals = self._totals(heard, self._answers).view(-1, group)
            flat = (totals.amax(1) - totals.amin(1) < _SPREAD).nonzero().squeeze(1).tolist()
            counts = [len(rows) for rows in self._gathered(flat)]
            new = list(itertools.islice(rest, sum(counts)))
            replaced += len(new)
            before = sum(counts[: self.accelerator.process_index])
            own = list(zip(flat, new[before : before + len(flat)], strict=False))
            if own:
                rows = [self.utterances[key] for _, key in own]
                prompts = [self.utterances.prompt(key) for _, key in own]
                answers = self._sample(rows, prompts)
                for number, (place, _) in enumerate(own):
                    heard[place], examples[place] = rows[number], prompts[number]
                    self._answers[place * group : (place + 1) * group] = answers[number * group : (number + 1) * group]
            if not new:
                break
        self._log_metric("replaced_share", replaced / len(keys))
        return replaced > 0

    def _totals(self, heard: Sequence[dict[str, Any]], answers: Sequence[Sequence[int]]) -> torch.Tensor:
        """Weighted sum of this process's rewards, (B,), before trl computes and gathers them."""
        rows = [row for row in heard for _ in range(self.num_generations)]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        columns |= {"raw": self._texts(answers), "completion_ids": [list(ids) for ids in answers]}
        totals = torch.zeros(len(rows), device=self.accelerator.device)
        for function, weight in zip(self.reward_funcs, self.args.reward_weights or (), strict=True):
            totals += weight * torch.tensor(cast("Any", function)(**columns), device=totals.device)
        return totals

    def _gathered(self, values: list[Any]) -> list[list[Any]]:
        """`values` of every process, by rank."""
        if self.accelerator.num_processes == 1:
            return [values]
        everyone: list[list[Any]] = [[] for _ in range(self.accelerator.num_processes)]
        torch.distributed.all_gather_object(everyone, values)
        return everyone

    def _roll_out(self) -> dict[str, Any]:
        """Answers to the batch, for trl: ids of each row's prompt and answer, and the answer's text as `raw`."""
        ids, masks = self._batch["input_ids"], self._batch["attention_mask"].bool()
        prompts = [row[mask].tolist() for row, mask in zip(ids, masks, strict=True)]
        prompts = [row for row in prompts for _ in range(self.num_generations)]
        self.tokens_seen += sum(map(len, prompts)) + sum(map(len, self._answers))
        raw = self._texts(self._answers)
        return {"prompt_ids": prompts, "completion_ids": self._answers, "logprobs": None, "raw": raw}

    def _texts(self, answers: Sequence[Sequence[int]]) -> list[str]:
        end = self.processor.end_token_id
        return [self.processor.decode(ids[:-1] if ids[-1] == end else ids) for ids in answers]

    def _calculate_rewards(self, inputs: list[dict[str, Any]], *answers: Any) -> torch.Tensor:
        if self.measure is not None:
            columns = {name: [row[name] for row in inputs] for name in inputs[0]}
            for name, value in self.measure(**columns).items():
                self._log_metric(name, value)
        return super()._calculate_rewards(inputs, *answers)

    def _compute_loss(self, model: nn.Module, inputs: dict[str, Any]) -> torch.Tensor:
        """The loss of a micro-batch, whose rows trl has drawn from the whole generation batch."""
        self._rows = inputs["audio_rows"]
        if self.stage.loss == "mwer":
            return self._expected_loss(model, inputs) + self._reference_loss(model)
        return super()._compute_loss(model, inputs)

    def _expectations(self, batch: Mapping[str, Any], totals: torch.Tensor) -> dict[str, torch.Tensor]:
        """What the gradient of the expected reward needs of each answer, (B,): see `expected_rewards`."""
        with torch.no_grad():
            log_probs, mask, _ = self._answer_log_probs(self._policy, batch, self.args.per_device_train_batch_size)
        answers = [tuple(ids) for ids in self._answers]
        shares, advantages = expected_rewards((log_probs * mask).sum(1), totals, answers, self.num_generations)
        expected = self.accelerator.gather((shares * totals).sum() * self.num_generations / len(totals))
        self._metrics["train"]["expected_reward"].append(expected.mean().item())
        return {"advantages": advantages, "expected": shares * totals}

    def _answer_log_probs(
        self, model: nn.Module, batch: Mapping[str, Any], size: int | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Log-probabilities of the answers' tokens and which are tokens, (B, L) each, and the tokens' entropies."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        length = batch["completion_ids"].shape[1]
        log_probs, entropies, _ = self._get_per_token_logps_and_entropies(model, ids, mask, length, size)
        return log_probs, batch["completion_mask"], entropies

    def _expected_loss(self, model: nn.Module, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Minus the expected reward, averaged over the step's utterances, and the weighted KL divergence."""
        log_probs, mask, _ = self._answer_log_probs(model, inputs)
        scores = (log_probs * mask).sum(1)
        rows, parts = len(scores), self.current_gradient_accumulation_steps
        surrogate = inputs["advantages"] * (scores - scores.detach()) + inputs["expected"]
        loss = -surrogate.sum() * self.num_generations / (rows * parts)
        if self.beta:
            difference = inputs["ref_per_token_logps"] - log_probs
            divergence = (difference.exp() - difference - 1) * mask
            totals = self.accelerator.reduce(torch.stack([divergence.sum().detach(), mask.sum()]), reduction="sum")
            self._metrics["train"]["kl"].append((totals[0] / totals[1]).item())
            loss = loss + self.beta * divergence.sum() / (rows * self.stage.max_new_tokens * parts)
        return loss

    def _reference_loss(self, model: nn.Module) -> torch.Tensor:
        """Weighted cross entropy of this micro-batch's share of the references, averaged over the step's tokens."""
        if not self.stage.cross_entropy_weight:
            return torch.zeros((), device=self.accelerator.device)
        parts = self.current_gradient_accumulation_steps
        own = torch.arange(len(self._targets))[self._step % parts :: parts]
        prompts, masks = self._batch["input_ids"], self._batch["attention_mask"].bool()
        examples = []
        for row in own.tolist():
            prompt, target = prompts[row][masks[row]].tolist(), self._targets[row]
            examples.append({"input_ids": prompt + target, "labels": [IGNORED_LABEL] * len(prompt) + target})
        batch = {name: tensor.to(prompts.device) for name, tensor in self.processor.collate(examples).items()}
        tokens = torch.tensor(sum(map(len, self._targets)), dtype=torch.float32, device=prompts.device)
        tokens = self.accelerator.gather(tokens).mean()  # the processes' losses are averaged, too
        with self.accelerator.autocast():
            output = model(**batch, **self._audio_of(own.to(prompts.device)), num_items_in_batch=tokens)
        return self.stage.cross_entropy_weight * output.loss

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


def expected_rewards(
    scores: torch.Tensor, rewards: torch.Tensor, answers: Sequence[Hashable], group: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each answer's share of the probability of its group's distinct answers, and its derivative of their expectation.

    scores: (B,) log-probabilities of the answers; rewards: (B,); answers: to tell which are equal; group: answers per
    utterance, one after the other. With P the probabilities of the distinct answers renormalised to sum to 1 and E the
    expectation of the rewards R under them, dE / d score = P (R - E) (Prabhavalkar et al., 2018, arXiv:1712.01818,
    equation 3). Equal answers divide their share evenly.

    >>> scores, rewards = torch.tensor([0.25, 0.25, 0.5]).log(), torch.tensor([1.0, 1.0, 0.0])
    >>> shares, slopes = expected_rewards(scores, rewards, "aab", 3)
    >>> [round(share, 3) for share in shares.tolist()], [round(slope, 3) for slope in slopes.tolist()]
    ([0.167, 0.167, 0.667], [0.111, 0.111, -0.222])
    """
    copies = torch.empty_like(scores)
    for start in range(0, len(answers), group):
        counts = Counter(answers[start : start + group])
        for row in range(start, start + group):
            copies[row] = counts[answers[row]]
    shares = (scores - copies.log()).view(-1, group).softmax(1)
    expected = (shares * rewards.view(-1, group)).sum(1, keepdim=True)
    return shares.flatten(), (shares * (rewards.view(-1, group) - expected)).flatten()


_SPREAD = 1e-6  # rewards of a group that differ by less are equal
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
