"""A linear layer with LoRA as one operation: peft's own spends more time on scaling and adding than on the adapters.

Shapes: P positions, i inputs, o outputs, r rank.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora.layer import Linear
from torch import nn
from torch.nn import functional


class LoraLinear(Linear):
    """peft's LoRA layer, with the same weights and names, that computes `x W' + b + s (x A') B'` in three products.

    Whatever else peft's layer can do (merged, disabled or several adapters, dropout, variants, mixed precision
    without autocast) it does as before.
    """

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Outputs (…, o) of `x` (…, i)."""
        base: Any = self.base_layer
        (adapter, *others) = self.active_adapters or [None]
        if (
            args
            or kwargs
            or others
            or self.disable_adapters
            or self.merged
            or adapter not in self.lora_A
            or adapter in self.lora_variant
            or not isinstance(self.lora_dropout[adapter], nn.Identity)
        ):
            return super().forward(x, *args, **kwargs)
        down, up = self.lora_A[adapter].weight, self.lora_B[adapter].weight
        kind = x.device.type
        autocast = torch.is_autocast_enabled(kind)
        if not autocast and not x.dtype == base.weight.dtype == down.dtype == up.dtype:
            return super().forward(x)
        dtype = torch.get_autocast_dtype(kind) if autocast else x.dtype
        factors = [tensor.to(dtype) for tensor in (base.weight, down, up)]
        bias = None if base.bias is None else base.bias.to(dtype)
        with torch.autocast(kind, enabled=False):
            return _LoraProduct.apply(x.to(dtype), bias, *factors, self.scaling[adapter])


class _LoraProduct(torch.autograd.Function):
    """x (…, i), b (o,) and W (o, i), which are frozen, A (r, i), B (o, r), s -> (…, o)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        bias: torch.Tensor | None,
        weight: torch.Tensor,
        down: torch.Tensor,
        up: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        x_Pi = x.reshape(-1, x.shape[-1])
        low_Pr = x_Pi @ down.T
        ctx.save_for_backward(x_Pi, low_Pr, weight, down, up)
        ctx.scaling, ctx.shape = scaling, x.shape
        out_Po = torch.addmm(functional.linear(x_Pi, weight, bias), low_Pr, up.T, alpha=scaling)
        return out_Po.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x_Pi, low_Pr, weight, down, up = ctx.saved_tensors
        gradient_Po = gradient.reshape(-1, gradient.shape[-1])
        to_x, _, _, to_down, to_up, _ = ctx.needs_input_grad
        of_low_Pr = (gradient_Po @ up).mul_(ctx.scaling)
        of_x = torch.addmm(gradient_Po @ weight, of_low_Pr, down).view(ctx.shape) if to_x else None
        of_down = of_low_Pr.T @ x_Pi if to_down else None
        of_up = (gradient_Po.T @ low_Pr).mul_(ctx.scaling) if to_up else None
        return of_x, None, None, of_down, of_up, None


def fuse(module: nn.Module) -> None:
    """Make every LoRA layer over `nn.Linear` in `module` a `LoraLinear`."""
    for layer in module.modules():
        if type(layer) is Linear and type(layer.base_layer) is nn.Linear and not layer.fan_in_fan_out:
            layer.__class__ = LoraLinear
