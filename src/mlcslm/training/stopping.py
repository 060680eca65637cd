"""Stop a trainer between two steps when its process is asked to, with a state that it goes on from."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mlcslm.interruption import Stop


class StopWhenAsked(TrainerCallback):
    """Saves after the step in which any of the processes was asked to stop, and ends the training there.

    All processes learn of it in the same step: one that left alone would let the others wait for it for ever.
    """

    def __init__(self, stop: Stop) -> None:
        self.stop = stop

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a state and the end."""
        if args.world_size > 1:
            asked = torch.tensor([int(self.stop.asked)], device=args.device)
            torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
            self.stop.asked = bool(asked.item())
        if self.stop.asked:
            control.should_save = control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Raise Interrupted where steps are left, once the first process has marked the state as whole."""
        if not self.stop.asked or state.global_step >= state.max_steps:
            return
        if args.world_size > 1:
            torch.distributed.barrier()
        self.stop.leave(f"the state after step {state.global_step} of {state.max_steps}")
