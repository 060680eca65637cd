"""What all trainers share: an optimiser with options by part, resumable trained weights, stops on non-finite values."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mlcslm.errors import UserError
from mlcslm.io.files import sha256, write_json
from mlcslm.runtime.interruption import Stop
from mlcslm.runtime.progress import say
from mlcslm.training.muon import Muon

_WEIGHTS_FILE = "trained.safetensors"
_WHOLE_MARKER = "whole"


class PartsTrainer(Trainer):
    """A Trainer of the weights that require a gradient.

    options: the optimiser's `lr` (peak) and `eps` by parameter name, where they differ from the defaults, and
    `matrices` of those that Muon steps; tokens_seen: trained on by this process.
    """

    options: Mapping[str, dict[str, float]] = MappingProxyType({})
    tokens_seen = 0

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with one group per set of options; Muon if any group has `matrices`."""
        alike: dict[tuple[tuple[str, float], ...], list[nn.Parameter]] = {}
        for name, parameter in self._trained_parameters():
            options = {"lr": self.args.learning_rate} | self.options.get(name, {})
            alike.setdefault(tuple(sorted(options.items())), []).append(parameter)
        groups = [{"params": parameters, **dict(options)} for options, parameters in alike.items()]
        shared: dict[str, Any] = {"betas": (0.9, 0.98), "weight_decay": self.args.weight_decay}
        if any(group.get("matrices") for group in groups):
            self.optimizer = Muon(groups, **shared)
        else:
            self.optimizer = torch.optim.AdamW(groups, fused=True, **shared)
        return self.optimizer

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Loss of one micro-batch. Raises UserError if it is not finite, before any weight has changed."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise _not_finite("loss", self.state.global_step + 1)
        return loss

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save the trained weights only: the rest of the model is in the parent checkpoint."""
        folder = Path(output_dir) if output_dir else _output_folder(self.args)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.trained_weights(), folder / _WEIGHTS_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self.set_trained_weights(load_file(Path(resume_from_checkpoint) / _WEIGHTS_FILE))

    def trained_weights(self) -> dict[str, torch.Tensor]:
        """The trained weights by name, on the CPU; those of a model on the CPU are not copied."""
        return {name: parameter.detach().cpu().contiguous() for name, parameter in self._trained_parameters()}

    def set_trained_weights(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Give the model weights as `trained_weights` returns them."""
        rest = dict(tensors)
        with torch.no_grad():
            for name, parameter in self._trained_parameters():
                parameter.copy_(rest.pop(name))
        if rest:
            raise RuntimeError(f"weights of parts that are not trained: {sorted(rest)}")

    def resume(self, state: Path) -> None:
        """Take the weights of a resumable state without training further."""
        self._load_from_checkpoint(str(state))

    def _trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        assert self.model is not None
        return (item for item in self.model.named_parameters() if item[1].requires_grad)


class Watch(TrainerCallback):
    """Marks resumable states as complete once they are on disk, and stops on non-finite gradients."""

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raise UserError before the optimiser applies a non-finite gradient.

        Each weight is checked: clipping spreads a NaN to all of them, but for an infinite gradient zeroes all others.
        """
        sums = [p.grad.sum() for p in kwargs["model"].parameters() if p.grad is not None]
        if not torch.isfinite(torch.stack(sums)).all():
            raise _not_finite("gradient", state.global_step + 1)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Flush the state to disk and mark it; a state that a kill left unmarked is never resumed from."""
        if args.world_size > 1:
            torch.distributed.barrier()  # each process saves its random state there
        if not state.is_world_process_zero:
            return
        folder = _output_folder(args) / f"checkpoint-{state.global_step}"
        for file in folder.iterdir():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())
        files = {file.name: sha256(file) for file in folder.iterdir() if file.is_file()}
        write_json(folder / _WHOLE_MARKER, {"step": state.global_step, "files": files})


def whole_states(folder: Path) -> dict[int, Path]:
    """The complete states in `folder`, by step."""
    return {int(path.parent.name.split("-")[1]): path.parent for path in folder.glob(f"checkpoint-*/{_WHOLE_MARKER}")}


def newest_state(folder: Path) -> Path | None:
    """The newest complete state in `folder` to resume from, or None. A damaged one is skipped with a message."""
    for _, state in sorted(whole_states(folder).items(), reverse=True):
        if (fault := _fault(state)) is None:
            return state
        say(f"{state}: skipped: damaged ({fault})")
    return None


def _output_folder(args: TrainingArguments) -> Path:
    return Path(cast("str", args.output_dir))  # `trainer_arguments` sets it


def _fault(state: Path) -> str | None:
    """What is wrong with the files of a resumable state, if anything."""
    try:
        files = json.loads((state / _WHOLE_MARKER).read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError, TypeError):
        return f"{_WHOLE_MARKER} is not readable"
    for name, expected in files.items():
        if not (state / name).is_file():
            return f"{name} is missing"
        if sha256(state / name) != expected:
            return f"{name} has changed since it was written"
    return None


def _not_finite(what: str, step: int) -> UserError:
    return UserError(
        f"The {what} of step {step} is not finite (NaN or infinite); it changed no weights. Lower the stage's "
        "learning_rate or max_gradient_norm, or look for faulty audio in the batch; earlier states are kept."
    )


class StopOnRequest(TrainerCallback):
    """Saves and ends training after the step in which any process was asked to stop.

    All processes learn of it in the same step: if one left alone, the others would wait for it for ever.
    """

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Request a save and the end of training."""
        if args.world_size > 1:
            requested = torch.tensor([int(self.stop.requested)], device=args.device)
            torch.distributed.all_reduce(requested, op=torch.distributed.ReduceOp.MAX)
            self.stop.requested = bool(requested.item())
        if self.stop.requested:
            control.should_save = control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raise Interrupted if steps remain, once the first process has marked the state as complete."""
        if not self.stop.requested or state.global_step >= state.max_steps:
            return
        if args.world_size > 1:
            torch.distributed.barrier()
        self.stop.leave(f"the state after step {state.global_step} of {state.max_steps}")
