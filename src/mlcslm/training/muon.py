"""Muon for weight matrices, AdamW for all other weights, as one optimiser.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon) steps by the momentum of the gradient with all its
singular values near 1, so that directions which gradients rarely point to are learnt as fast as the others. Steps are
scaled to the root mean square of AdamW's (Liu et al., 2025, https://arxiv.org/abs/2502.16982).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim.adamw import adamw

_QUINTIC = (3.4445, -4.7750, 2.0315)
_QUINTIC_STEPS = 5
_RMS = 0.2
"""Of AdamW's steps, in learning rates, as usually found."""


class Muon(torch.optim.Optimizer):
    """Steps groups with `matrices` by Muon, the others as `torch.optim.AdamW` does.

    A weight with more than two dimensions, such as the kernel of a convolution, is a matrix of its first by all others.
    torch.optim.Muon takes neither these nor other weights, and rounds to bfloat16, which is slow on a CPU without it.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        betas: tuple[float, float] = (0.9, 0.98),
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            groups,
            {
                "lr": 1e-3,
                "matrices": False,
                "betas": betas,
                "eps": 1e-8,
                "momentum": momentum,
                "weight_decay": weight_decay,
            },
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of every weight that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            if group["matrices"]:
                for parameter in parameters:
                    self._step_matrix(parameter, group)
            elif parameters:
                self._step_others(parameters, group)
        return loss

    def _step_matrix(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
        update = orthogonalised(parameter.grad.lerp(momentum, group["momentum"]).flatten(1))
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.view_as(parameter), alpha=-group["lr"] * _RMS * max(update.shape) ** 0.5)

    def _step_others(self, parameters: list[torch.Tensor], group: dict[str, Any]) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), device=parameter.device)
                state["exp_avg"] = torch.zeros_like(parameter)
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in parameters]
        first, second = group["betas"]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=first,
            beta2=second,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalised(matrix: torch.Tensor) -> torch.Tensor:
    """`matrix` (m, n) with its singular vectors and singular values near 1, by Newton-Schulz iteration.

    A zero matrix stays zero.
    """
    a, b, c = _QUINTIC
    tall = matrix.size(0) > matrix.size(1)
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_QUINTIC_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
