"""Which of a stage's states to keep and to end with: measured on a slice of dev while it trains.

What has been measured is in `measured.json` in the stage's folder of resumable states, and beside it are the trained
weights of states that may still be needed. A state's measurement and weights are on disk before the resumable state of
the same step, so a stage that is killed at any moment, and resumed from an earlier step, measures again what came later
and keeps the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mlcslm.config.stages import ReinforcementConfig, Stage
from mlcslm.io.files import atomic_path, read_json, write_json
from mlcslm.runtime.progress import say
from mlcslm.training.dev_slice import DevSlice, Measured
from mlcslm.training.log import TrainingLog
from mlcslm.training.parts_trainer import PartsTrainer, whole_states

FIELDS = (pa.field("dev_error_rate", pa.float64()), pa.field("dev_loss", pa.float64()))
"""Columns of the training log, null but for the measured steps: errors per unit, nats per token."""
FILE = "measured.json"
KEPT = "kept"
"""Folder of the kept checkpoints in their stage's own."""


def ranked(measured: Iterable[Measured]) -> list[Measured]:
    """The states from the best on: fewer errors, then a lower loss, then earlier.

    >>> [one.step for one in ranked([Measured(1, 3, 9, 0.5), Measured(2, 2, 9, 0.6), Measured(3, 2, 9, 0.4)])]
    [3, 2, 1]
    """
    return sorted(measured, key=lambda one: (one.rate, one.loss or 0.0, one.step))


def chosen_steps(stage: Stage, measured: Sequence[Measured], *, collapsed: bool = False) -> list[int]:
    """Steps of the states whose mean the stage ends with; none: its last state, as it is.

    A stage that ends because it has collapsed never ends with its last states.
    """
    best = [one.step for one in ranked(measured)]
    if stage.result == "mean_of_best":
        return best[: stage.mean_of]
    if stage.result == "best" or collapsed:
        return best[:1]
    return [one.step for one in measured[-stage.mean_of :]] if stage.result == "mean_of_last" else []


def wanted_steps(stage: Stage, measured: Sequence[Measured]) -> set[int]:
    """Steps of the states whose weights would be needed if the stage ended now."""
    stops = isinstance(stage, ReinforcementConfig) and stage.collapse.stop
    wanted = {*chosen_steps(stage, measured), *(one.step for one in ranked(measured)[: stage.keep])}
    return wanted | set(chosen_steps(stage, measured, collapsed=True)) if stops else wanted


def is_out_of_patience(patience: int, measured: Sequence[Measured]) -> bool:
    """Whether none of the last `patience` states has a lower error rate than all before; never with a patience of 0.

    >>> states = [Measured(step, errors, 10, None) for step, errors in enumerate([5, 4, 4, 6])]
    >>> [is_out_of_patience(patience, states) for patience in (0, 1, 2, 3)]
    [False, True, True, False]
    """
    if not patience or not measured:
        return False
    rates = [one.rate for one in measured]
    return len(rates) - 1 - rates.index(min(rates)) >= patience


def remove_selection(out: Path) -> None:
    """Remove what an earlier run of a stage kept in its checkpoint's folder."""
    shutil.rmtree(out / KEPT, ignore_errors=True)
    (out / FILE).unlink(missing_ok=True)


class Selection(TrainerCallback):
    """Measures the states of stage `name` on `dev`, keeps the weights of those that matter, and ends the stage early.

    folder: of the stage's resumable states; log: of the stage, added to its trainer before this.
    """

    def __init__(
        self, name: str, stage: Stage, folder: Path, dev: DevSlice, trainer: PartsTrainer, log: TrainingLog
    ) -> None:
        self.name = name
        self.stage = stage
        self.folder = folder
        self.dev = dev
        self.trainer = trainer
        self.log = log
        self.measured: list[Measured] = []
        self.stopped: dict[str, Any] | None = None
        self._read()

    def has_ended(self, step: int) -> bool:
        """Whether the stage ended early after `step` steps, so that a run resumed there must not train further."""
        return self.stopped is not None and self.stopped["step"] == step

    def columns(self, step: int) -> dict[str, float | None]:
        """What the training log has of a step beyond other stages'; nothing for one that was not measured."""
        found = [one for one in self.measured if one.step == step]
        return {"dev_error_rate": found[-1].rate, "dev_loss": found[-1].loss} if found else {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Forget what was measured beyond the step that training resumes from; measure reinforcement's first state."""
        self.measured = [one for one in self.measured if one.step <= state.global_step]
        self.stopped = None
        if state.is_world_process_zero:
            self._write()
        if state.global_step == 0 and isinstance(self.stage, ReinforcementConfig):
            self._measure(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure the state if it is its turn, and end the stage if none has been better for long."""
        if state.global_step % self.stage.eval_steps and state.global_step < state.max_steps:
            return
        self._measure(state)
        if is_out_of_patience(self.stage.patience, self.measured) and state.global_step < state.max_steps:
            best = ranked(self.measured)[0]
            why = f"no error rate below that of step {best.step} in {self.stage.patience} measurements"
            self._stop(state, control, why)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """End a reinforcement stage whose answers have collapsed."""
        stops = isinstance(self.stage, ReinforcementConfig) and self.stage.collapse.stop
        if stops and "loss" in (kwargs["logs"] or {}) and self._has_collapsed(args):
            self._stop(state, control, "its answers have lost their form", collapsed=True)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Delete weights that neither this run nor one that resumes from an older state can need."""
        if not state.is_world_process_zero:
            return
        wanted = wanted_steps(self.stage, self.measured)
        for step in whole_states(self.folder):
            wanted |= wanted_steps(self.stage, [one for one in self.measured if one.step <= step])
        for path in self.folder.glob("measured-*.safetensors"):
            if int(path.stem.split("-")[1]) not in wanted:
                path.unlink()

    def finish(self, save: Callable[[str], Any], out: Path) -> None:
        """Write the kept checkpoints and what was measured into `out`, and give the model the weights to end with.

        save: writes a checkpoint of the model as it is into a folder below `out`.
        """
        kept = [one.step for one in ranked(self.measured)[: self.stage.keep]]
        collapsed = self.stopped is not None and self.stopped["collapsed"]
        steps = chosen_steps(self.stage, self.measured, collapsed=collapsed)
        last = {name: tensor.clone() for name, tensor in self.trainer.trained_weights().items()} if kept else {}
        for step in kept:
            self.trainer.set_trained_weights(load_file(self._weights(step)))
            save(f"{KEPT}/step-{step}")
        if steps or kept:
            self.trainer.set_trained_weights(self._mean(steps) if steps else last)
        rows = [asdict(one) for one in self.measured]
        write_json(out / FILE, {"measured": rows, "stopped": self.stopped, "kept": kept, "result": steps})
        if steps:
            rates = ", ".join(f"step {one.step} ({one.rate:.2%})" for one in self.measured if one.step in steps)
            say(f"{self.name}: ends with the {'mean of the weights' if steps[1:] else 'weights'} of {rates}")

    def _measure(self, state: TrainerState) -> None:
        one = self.dev.measure(self.trainer)
        self.measured.append(one)
        if state.is_world_process_zero:
            if one.step in wanted_steps(self.stage, self.measured):
                with atomic_path(self._weights(one.step)) as temporary:
                    save_file(self.trainer.trained_weights(), temporary)
            self._write()
            loss = "" if one.loss is None else f", {one.loss:.3f} nats per token"
            say(f"{self.name}: step {one.step} of {state.max_steps}: {one.rate:.2%} errors on dev's slice{loss}")

    def _stop(self, state: TrainerState, control: TrainerControl, why: str, *, collapsed: bool = False) -> None:
        """End the stage after this step, whose state is saved."""
        self.stopped = {"step": state.global_step, "why": why, "collapsed": collapsed}
        control.should_training_stop = control.should_save = True
        if state.is_world_process_zero:
            self._write()
            say(f"{self.name}: ended after {state.global_step} of {state.max_steps} steps: {why}")

    def _has_collapsed(self, args: TrainingArguments) -> bool:
        """Whether the first process, which keeps the log, has just logged a collapse; all processes learn of it."""
        flag = torch.tensor([self.log.is_collapsed], dtype=torch.int32, device=args.device)
        if args.world_size > 1:
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag.item())

    def _mean(self, steps: Sequence[int]) -> Mapping[str, torch.Tensor]:
        """Mean of the trained weights after each of `steps`, summed in double precision."""
        if len(steps) == 1:
            return load_file(self._weights(steps[0]))
        states = [safe_open(self._weights(step), "pt") for step in steps]
        means = {}
        for name in states[0].keys():  # noqa: SIM118 (not a dict)
            tensors = [state.get_tensor(name) for state in states]
            means[name] = torch.stack([tensor.double() for tensor in tensors]).mean(0).to(tensors[0].dtype)
        return means

    def _weights(self, step: int) -> Path:
        return self.folder / f"measured-{step}.safetensors"

    def _write(self) -> None:
        rows = [asdict(one) for one in self.measured]
        write_json(self.folder / FILE, {"measured": rows, "stopped": self.stopped})

    def _read(self) -> None:
        if not (path := self.folder / FILE).is_file():
            return
        content = read_json(path, f"Delete {self.folder} and run the workflow again: the stage starts over.")
        self.measured = [Measured(**row) for row in content["measured"]]
        self.stopped = content["stopped"]
