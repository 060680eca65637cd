"""Time and memory of steps of a preset's stages and decodings, at full size with random weights."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fullsize_inputs import Prompts, Utterances, never_ends, processor_of
from reporting import machine
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from mlcslm.config.languages import read_languages
from mlcslm.config.reading import read_config
from mlcslm.config.schema import Config
from mlcslm.config.stages import ReinforcementConfig, Stage
from mlcslm.decoding.batching import is_out_of_memory
from mlcslm.decoding.compiled_tree import CompiledTrees
from mlcslm.decoding.search import search
from mlcslm.errors import UserError
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.plan.fake_model import ADAPTERS, stage_model, weight_bytes
from mlcslm.plan.generation import Generating
from mlcslm.plan.micro_batch import Lengths, Meter
from mlcslm.plan.shapes import read_shapes
from mlcslm.plan.stages import Planner
from mlcslm.plan.throughput import read_throughput
from mlcslm.plan.workload import split_sizes
from mlcslm.training.batches import BatchPlan
from mlcslm.training.parts_trainer import PartsTrainer
from mlcslm.training.settings import part_options, trainer_arguments
from mlcslm.training.trainer import SpeechTrainer
from mlcslm.workflow.layout import Layout

WARM_UP = 1
"""Uncounted first steps, in which kernels are chosen and memory is allocated."""


class Bench:
    """Measures the models of `options.config`, one stage or decoding after the other, rebuilding the model for each."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.dtype = torch.bfloat16 if self.device == "cuda" else torch.float32
        self.config: Config = read_config(options.config)
        self.throughput = read_throughput(options.throughput, options.gpu)
        self.gpu = self.throughput.gpus[self.throughput.gpu]
        self.groups = read_languages(self.config.languages)
        self.group = next(iter(self.groups))
        self.shapes = read_shapes(
            options.encoder or self.config.models.encoder,
            options.language_model or self.config.models.language_model,
            self.config.languages,
        )
        self.meter = Meter(self.shapes, self.config.models)
        train = split_sizes(Layout(self.config), self.throughput.corpus)["train"]
        train = dataclasses.replace(train, mean_s=options.seconds, max_duration_s=options.longest)
        self.planner = Planner(self.config, self.meter, self.throughput.text, train, self.gpu)

    def measure(self) -> dict[str, dict[str, Any]]:
        """Measurements by stage and by decoding, as requested. Raises UserError for one that the preset lacks."""
        requested = {
            "stages": (self._requested("stages", self.different_stages()), self.config.stages, self._stage),
            "decodings": (self._requested("decodings", self.some_decodings()), self.config.decodings, self._decoding),
        }
        for kind, (names, known, _) in requested.items():
            if missing := [name for name in names if name not in known]:
                raise UserError(f"{self.options.config}: {kind} has no {missing[0]}; it has {', '.join(known)}.")
        return {
            kind: {name: self._attempt(measure, name) for name in names}
            for kind, (names, _, measure) in requested.items()
        }

    def _requested(self, kind: str, default: list[str]) -> list[str]:
        names: list[str] | None = getattr(self.options, kind)
        return default if names is None else names

    def some_decodings(self) -> list[str]:
        """The first decoding of each method."""
        return list({decoding.method: name for name, decoding in reversed(self.config.decodings.items())}.values())

    def different_stages(self) -> list[str]:
        """The first of each set of stages that train alike."""
        alike = {}
        for name, stage in self.config.stages.items():
            key = (stage.kind, stage.template, stage.trains, self.planner.trained_before(name), stage.batch_size)
            alike.setdefault((*key, getattr(stage, "context", 0)), name)
        return list(alike.values())

    def machine(self) -> dict[str, Any]:
        """The machine; the GPU's peak is the throughput table's, and a CPU has none."""
        return machine() | {
            "dtype": str(self.dtype).removeprefix("torch."),
            "peak_tflops": self.gpu.bfloat16_tflops if self.device == "cuda" else None,
            "cuda": torch.version.cuda,
        }

    def _attempt(self, measure: Callable[[str], dict[str, Any]], name: str) -> dict[str, Any]:
        """What `measure` gives, or that it does not fit into memory; frees the GPU's memory afterwards."""
        try:
            return measure(name)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return {"out_of_memory": str(error).strip().splitlines()[0]}
        finally:
            gc.collect()
            if self.device == "cuda":
                torch.cuda.empty_cache()

    def _stage(self, name: str) -> dict[str, Any]:
        """Timed steps at the mean length, then one at the longest to measure memory."""
        stage, plan = self.config.stages[name], self.planner(name)
        model = stage_model(
            self.shapes,
            self.config.models,
            trains=stage.trains,
            trained_before=self.planner.trained_before(name),
            device=self.device,
            dtype=self.dtype,
        )
        seconds, tokens = self._train(model, name, self.options.seconds, self.options.steps)
        self._reset_peak()
        self._train(model, name, min(self.options.longest, stage.max_duration_s), 1)
        return {
            "seconds_a_step": seconds,
            "tokens_a_second": tokens / seconds,
            "planned_tokens_a_step": plan.tokens,
            "planned_flops_a_step": plan.flops,
            "share_of_peak": self._share(plan.flops / seconds),
            "peak_bytes": self._peak(),
            "planned_peak_bytes": plan.peak_bytes,
            "planned_memory": dict(plan.memory),
            "planned_seconds_a_step": plan.seconds,
            "adapters": bool(ADAPTERS & {*stage.trains, *self.planner.trained_before(name)}),
            "kind": stage.kind,
        }

    def _train(self, model: SpeechLLM, name: str, seconds: float, steps: int) -> tuple[float, float]:
        """Mean seconds and tokens per step, over `steps` after a warm-up."""
        stage = self.config.stages[name]
        text = self.throughput.text
        answer = text.answer_tokens(stage.template, seconds)
        if isinstance(stage, ReinforcementConfig):
            stage = stage.model_copy(update={"max_new_tokens": min(answer, stage.max_new_tokens)})
        lengths = Lengths(1, seconds, self.planner.prompt_tokens(stage, seconds), answer)
        processor = processor_of(model, self.groups)
        never_ends(model, processor)
        with tempfile.TemporaryDirectory() as work:
            arguments = trainer_arguments(stage, self.config, Path(work))
            arguments |= {"max_steps": steps + WARM_UP, "save_strategy": "no", "dataloader_num_workers": 0}
            make = self._rollouts if isinstance(stage, ReinforcementConfig) else self._supervised
            trainer = make(model, processor, stage, arguments, lengths)
            clock = _Clock(trainer, self._now)
            for callback in (PrinterCallback, ProgressCallback):
                trainer.remove_callback(callback)
            trainer.add_callback(clock)
            trainer.train()
        return clock.mean_step()

    def _supervised(
        self, model: SpeechLLM, processor: SpeechProcessor, stage: Stage, arguments: dict[str, Any], lengths: Lengths
    ) -> PartsTrainer:
        count = stage.batch_size * stage.accumulation
        data = Utterances(processor, lengths, count, self.group, self.config.seed)
        plan = BatchPlan(
            data.lengths,
            stage.batch_size,
            arguments["max_steps"] * stage.accumulation,
            self.config.seed,
            accumulation=stage.accumulation,
        )
        return SpeechTrainer(
            model=model,
            args=TrainingArguments(**arguments),
            train_dataset=data,
            data_collator=processor.collate,
            plan=plan,
            options=part_options(model, stage),
        )

    def _rollouts(
        self, model: SpeechLLM, processor: SpeechProcessor, stage: Stage, arguments: dict[str, Any], lengths: Lengths
    ) -> PartsTrainer:
        from mlcslm.training.grpo import RolloutTrainer, grpo_arguments

        size = stage.batch_size * stage.accumulation
        data = Prompts(processor, lengths, size, self.group, self.config.seed)
        return RolloutTrainer(
            model=model,
            args=grpo_arguments(stage, arguments),
            processor=processor,
            utterances=data,
            plan=BatchPlan(data.lengths, size, arguments["max_steps"], self.config.seed),
            stage=stage,
            # Different rewards, so that there are advantages and gradients.
            rewards=dict.fromkeys([*stage.rewards, *stage.penalties], _alternating),
            options=part_options(model, stage),
        )

    def _decoding(self, name: str) -> dict[str, Any]:
        """Encoded batches of the mean length, answered up to one and a half mean answers, as in the plan."""
        decoding, text, seconds = self.config.decodings[name], self.throughput.text, self.options.seconds
        limit = min(round(1.5 * text.answer_tokens("reasoning", seconds)), decoding.max_new_tokens)
        decoding = decoding.model_copy(update={"max_new_tokens": limit})
        model = stage_model(self.shapes, self.config.models, trains=(), device=self.device, dtype=self.dtype).eval()
        processor = processor_of(model, self.groups)
        never_ends(model, processor)
        prompt = text.prompt["reasoning"]
        data = Utterances(processor, Lengths(1, seconds, prompt, 1), decoding.batch_size, self.group, self.config.seed)
        compiled_trees = CompiledTrees() if self.options.compiled and self.device == "cuda" else None
        self._reset_peak()
        took = []
        for _ in range(WARM_UP + self.options.steps):
            started = self._now()
            batch = processor.collate([data.prompt((0, number)) for number in range(len(data))], side="left")
            prompts = {key: tensor.to(self.device) for key, tensor in batch.items()}
            with torch.no_grad():
                audio = prompts.pop("input_features").to(self.dtype), prompts.pop("input_features_mask")
                frames, mask = model.encode_audio(*audio)
            prompts |= {"encoder_frames": frames, "encoder_frames_mask": mask}
            search(model, prompts, [str(number) for number in range(len(data))], decoding, compiled_trees)
            took.append(self._now() - started)
        mean = sum(took[WARM_UP:]) / self.options.steps
        generating = Generating(self.meter, (), decoding.batch_size, decoding.beams, prompt, shared=True)
        work = generating.work(seconds, limit, self.gpu)
        return {
            "batch": decoding.batch_size,
            "beams": decoding.beams,
            "compiled": compiled_trees is not None,
            "answer_tokens": limit,
            "seconds_a_batch": mean,
            "utterances_a_second": decoding.batch_size / mean,
            "tokens_a_second": decoding.batch_size * limit / mean,
            "step_ms": 1000 * mean / limit,
            "share_of_peak": self._share(work.flops / mean),
            "peak_bytes": self._peak(),
            "planned_seconds_a_batch": work.seconds,
            "planned_peak_bytes": round(sum(generating.memory(seconds, limit)) + weight_bytes(model)),
        }

    def _share(self, flops_a_second: float) -> float | None:
        """Share of the GPU's peak; None on a CPU, whose peak is unknown."""
        return flops_a_second / (self.gpu.bfloat16_tflops * 1e12) if self.device == "cuda" else None

    def _now(self) -> float:
        """The current time in seconds, after the GPU has finished all work."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _reset_peak(self) -> None:
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def _peak(self) -> int | None:
        """Peak tensor memory since `_reset_peak`; None on a CPU."""
        return torch.cuda.max_memory_allocated() if self.device == "cuda" else None


class _Clock(TrainerCallback):
    """When each step of `trainer` ended, and how many tokens it had seen by then."""

    def __init__(self, trainer: PartsTrainer, now: Callable[[], float]) -> None:
        self._trainer = trainer
        self._now = now
        self._ends: list[tuple[float, int]] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Record the time."""
        self._ends.append((self._now(), self._trainer.tokens_seen))

    def mean_step(self) -> tuple[float, float]:
        """Mean seconds and tokens per step after the warm-up."""
        (start, before), (end, after) = self._ends[WARM_UP - 1], self._ends[-1]
        steps = len(self._ends) - WARM_UP
        return (end - start) / steps, (after - before) / steps


def _alternating(raw: list[str], **_: Any) -> list[float]:
    """Rewards that differ within a group."""
    return [float(number % 2) for number in range(len(raw))]
