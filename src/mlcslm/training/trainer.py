"""transformers' Trainer for supervised stages of the speech LLM: planned batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from mlcslm.training.batches import BatchPlan
from mlcslm.training.parts_trainer import PartsTrainer


class SpeechTrainer(PartsTrainer):
    """Trains what requires a gradient, on the batches of `plan`; `rates`: peak learning rates by parameter name."""

    def __init__(self, *, plan: BatchPlan, rates: dict[str, float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.rates = rates

    def get_train_dataloader(self) -> DataLoader:
        """The planned batches; accelerate deals them out to the processes in turn."""
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=self.plan,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.device.type == "cuda",
        )
        return self.accelerator.prepare(loader)

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One micro-batch, its tokens counted."""
        self.tokens_seen += int(inputs["attention_mask"].sum())
        return super().training_step(model, inputs, num_items_in_batch)
