"""Counts operations and memory of running code, whether its tensors have memory or only a shape."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mlcslm.plan.shape_tensor import ShapeTensor, on_shapes, tensors_in

_ATEN = torch.ops.aten
# PyTorch registers these two only under the names of the GPU kernels.
_FORMULAS = dict(flop_registry) | {
    _ATEN._scaled_dot_product_flash_attention_for_cpu: flop_registry[_ATEN._scaled_dot_product_flash_attention],
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: flop_registry[
        _ATEN._scaled_dot_product_flash_attention_backward
    ],
}


class Tally(TorchDispatchMode):
    """Counts what runs inside it.

    flops: operations of matrix products, convolutions and attention, by PyTorch's own formulas (its FlopCounterMode
    keeps checkpointed activations alive, which distorts memory); live: bytes of all live tensors created inside;
    peak: the most so far. Tensors that existed before count nothing. shapes_only: new tensors are `ShapeTensor`s.
    """

    def __init__(self, *, shapes_only: bool = False) -> None:
        super().__init__()
        self._shapes_only = shapes_only
        self.flops = 0
        self.live = 0
        self.peak = 0
        self._storages: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = on_shapes(func, args, kwargs) if self._shapes_only else func(*args, **kwargs)
        if (formula := _FORMULAS.get(func._overloadpacket)) is not None:
            self.flops += formula(*args, **kwargs, out_val=output)
        new = [storage for storage in _storages(output) if id(storage) not in self._storages]
        if new:
            before = {id(storage) for storage in _storages((args, kwargs))}
            for storage in new:
                if id(storage) not in before and id(storage) not in self._storages:
                    self._add(storage)
        return output

    def _add(self, storage: torch.UntypedStorage) -> None:
        name, size = id(storage), storage.nbytes()
        self._storages[name] = size
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._drop, name).atexit = False

    def _drop(self, name: int) -> None:
        self.live -= self._storages.pop(name)


def _storages(values: Any) -> list[torch.UntypedStorage]:
    found: list[torch.UntypedStorage] = []
    for tensor in tensors_in(values):
        found.append((tensor.meta if isinstance(tensor, ShapeTensor) else tensor).untyped_storage())
    return found
