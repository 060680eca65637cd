"""transformers' Trainer for supervised stages of the speech LLM: planned batches, weighted labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from mlcslm.runtime.interruption import outlive_one_signal
from mlcslm.training.batches import BatchPlan
from mlcslm.training.parts_trainer import PartsTrainer
from mlcslm.training.prompt_loss import LabelWeights


class SpeechTrainer(PartsTrainer):
    """Trains what requires a gradient, on the batches of `plan`.

    options: AdamW's options by parameter name; label_weights: of the loss, 1 for every label by default.
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

    def get_train_dataloader(self) -> DataLoader:
        """The planned batches; accelerate deals them out to the processes in turn."""
        loader = DataLoader(
            self.train_dataset,
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
        """This process's micro-batches of an optimiser step, and what all processes' losses are divided by.

        That is the sum of the step's label weights, without which a micro-batch of short answers would count as much as
        one of long ones; `SpeechLLM.forward` takes both.
        """
        batches, total = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.label_weights is None:
            return batches, total
        for batch in batches:
            batch["label_weights"] = self.label_weights(batch["labels"], self.state.global_step)
        own = sum((batch["label_weights"].sum().to(device) for batch in batches), torch.zeros((), device=device))
        return batches, self.accelerator.gather(own).sum()

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One micro-batch, its tokens counted."""
        self.tokens_seen += int(inputs["attention_mask"].sum())
        return super().training_step(model, inputs, num_items_in_batch)
