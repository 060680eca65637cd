"""transformers' Trainer for supervised stages of the speech LLM: planned batches, weighted labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mlcslm.runtime.interruption import outlive_one_signal
from mlcslm.training.batches import BatchPlan
from mlcslm.training.parts_trainer import PartsTrainer
from mlcslm.training.prompt_loss import LabelWeights


class SpeechTrainer(PartsTrainer):
    """Trains the weights that require a gradient on the batches of `plan`.

    options: AdamW's options by parameter name; label_weights: weights of the loss, 1 by default.
    """

    def __init__(
        self,
        *,
        plan: BatchPlan,
        options: dict[str, dict[str, float]],
        label_weights: LabelWeights | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.options = options
        self.label_weights = label_weights

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The planned batches; accelerate distributes them over the processes in turn, whatever their sizes."""
        self.accelerator.even_batches = False
        loader = DataLoader(
            cast("Dataset[dict[str, Any]]", self.train_dataset),
            batch_sampler=self.plan,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            worker_init_fn=outlive_one_signal,
            pin_memory=self.args.device.type == "cuda",
        )
        return self.accelerator.prepare(loader)

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, torch.Tensor]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, torch.Tensor]], Any]:
        """This process's micro-batches of an optimiser step, and the divisor of all processes' losses.

        The divisor is the sum of the step's label weights; dividing per micro-batch would give short answers as much
        influence as long ones. `SpeechLLM.forward` takes both.
        """
        batches, total = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.label_weights is None:
            return batches, total
        for batch in batches:
            batch["label_weights"] = self.label_weights(batch["labels"], self.state.global_step)
        own = sum((batch["label_weights"].sum().to(device) for batch in batches), torch.zeros((), device=device))
        return batches, self.accelerator.gather(own).sum()

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Loss of one micro-batch; counts its tokens."""
        self.tokens_seen += int(inputs["attention_mask"].sum())
        return super().training_step(model, inputs, num_items_in_batch)
