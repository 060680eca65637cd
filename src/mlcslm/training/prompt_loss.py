"""Prompt-loss weights (paper, section 3.4): how much each token of an answer counts in the loss.

With l the cross entropy of a token and sums over all labelled tokens of an optimiser step, across micro-batches and
processes, equation 1 is `sum(l) / count` and equation 2 is

    sum(w * l) / sum(w),   w = 0 in the prompt, PLW in the reflection, 1 in the rest of the answer.

The reflection spans `<think>` to `</think>`, both tags included; the rest is the language token,
`<transcribe> … </transcribe>` and the end token. With PLW 1 equation 2 reduces to equation 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mlcslm.config.stages import PromptLossWeight

IGNORED_LABEL = -100


def weight_at(schedule: PromptLossWeight, step: int) -> float:
    """PLW after `step` optimiser steps: linear from `first` at 0 to `last` at `steps`, then constant.

    >>> schedule = PromptLossWeight(first=1.0, last=0.1, steps=300)
    >>> [round(weight_at(schedule, step), 3) for step in (0, 100, 299, 300, 9000)]
    [1.0, 0.7, 0.103, 0.1, 0.1]
    """
    passed = min(1.0, step / schedule.steps)
    return schedule.first + passed * (schedule.last - schedule.first)


@dataclass(frozen=True)
class LabelWeights:
    """Weights of equation 2: `schedule` of the PLW, ids of the tags `<think>` and `</think>`."""

    schedule: PromptLossWeight
    think_id: int
    end_think_id: int

    def __call__(self, labels_BL: torch.Tensor, step: int) -> torch.Tensor:
        """Weight (B, L), float32, of each label after `step` optimiser steps; 0 where nothing is predicted (-100).

        An unclosed reflection extends to the last label.
        """
        opened = (labels_BL == self.think_id).cumsum(1)
        closed = (labels_BL == self.end_think_id).cumsum(1)
        reflection = (opened > closed) | (labels_BL == self.end_think_id)
        weights = torch.where(reflection, weight_at(self.schedule, step), 1.0)
        return weights.masked_fill(labels_BL == IGNORED_LABEL, 0.0).float()
