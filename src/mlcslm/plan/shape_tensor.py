"""Tensors that have a shape and claim to be on the CPU, but hold no memory.

Unlike those of the meta device, they go through autocast. PyTorch's fake tensors do as well, and give the same numbers
(a test compares them), but take three times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

_ATEN = torch.ops.aten
_META = torch.device("meta")


class ShapeTensor(torch.Tensor):
    """A tensor on the CPU by name; `meta`: the one of the meta device that has its shape and its storage's size."""

    meta: torch.Tensor

    @staticmethod
    def __new__(cls, meta: torch.Tensor) -> ShapeTensor:
        """Wrap a tensor of the meta device."""
        made: ShapeTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            meta.shape,
            strides=meta.stride(),
            storage_offset=meta.storage_offset(),
            dtype=meta.dtype,
            device="cpu",
        )
        made.meta = meta
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func` on the shapes alone."""
        return on_shapes(func, args, kwargs or {})


def on_shapes(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The result of a PyTorch operation on `ShapeTensor`s, or of one that makes a tensor."""
    if func is _ATEN._local_scalar_dense.default:
        return False  # no value is known: a mask counts as one that hides something
    key = _key(func, args, kwargs)
    if key is not None and key in _RESULTS:
        return _made(_RESULTS[key])
    known: dict[int, torch.Tensor] = {}

    def shape_of(tensor: torch.Tensor) -> torch.Tensor:
        meta = tensor.meta if isinstance(tensor, ShapeTensor) else tensor.to(_META)
        known[id(meta)] = tensor
        return meta

    def wrapped(tensor: torch.Tensor) -> torch.Tensor:
        same = known.get(id(tensor))  # of an operation in place
        return ShapeTensor(tensor) if same is None else same

    values = {name: _mapped(value, shape_of) for name, value in kwargs.items()}
    if "device" in values or _makes_tensors(func):
        values["device"] = _META
    result = func(*[_mapped(value, shape_of) for value in args], **values)
    if func is _ATEN.native_layer_norm.default:
        # Its shape function asks for the device's name: on a CPU, mean and deviation have the input's type.
        result = (result[0], *(kept.to(args[0].dtype) for kept in result[1:]))
    result = _mapped(result, wrapped)
    if key is not None:
        _RESULTS[key] = _mapped(result, _Shape.of)
    return result


@dataclass(frozen=True)
class _Shape:
    """All that is to be known of a tensor with its own storage."""

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: torch.Tensor) -> _Shape:
        """The shape of `tensor`."""
        return cls(tensor.shape, tensor.stride(), tensor.dtype)


_RESULTS: dict[Any, Any] = {}
"""Results of operations that make new tensors, as `_Shape`s: layers and stages repeat most of them."""


def _made(result: Any) -> Any:
    if isinstance(result, _Shape):
        return ShapeTensor(torch.empty_strided(result.size, result.stride, dtype=result.dtype, device=_META))
    return type(result)(map(_made, result)) if isinstance(result, (tuple, list)) else result


def _key(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What the result of `func` depends on; None if it is not a new tensor."""
    if not _is_new(func):
        return None
    try:
        key = (func, _hashable(args), tuple((name, _hashable(value)) for name, value in kwargs.items()))
        hash(key)
    except TypeError:
        return None
    return key


def _hashable(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return (value.shape, value.stride(), value.dtype)
    if isinstance(value, (tuple, list)):
        return (type(value), *map(_hashable, value))
    return (type(value), value)  # 1, 1.0 and True are equal, but don't give equal types


@cache
def _is_new(func: Any) -> bool:
    """Whether the results of `func` share no memory with its arguments."""
    schema = func._schema
    views = any(value.alias_info is not None for value in (*schema.arguments, *schema.returns))
    return not views and func not in (_ATEN._reshape_alias.default, _ATEN._unsafe_view.default)


def tensors_in(values: Any) -> Iterator[torch.Tensor]:
    """The tensors of an operation's arguments or results: nested tuples, lists and dictionaries."""
    if isinstance(values, torch.Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)
    elif isinstance(values, dict):
        yield from tensors_in(list(values.values()))


def _mapped(value: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        return type(value)([_mapped(one, function) for one in value])
    return value


@cache
def _makes_tensors(func: Any) -> bool:
    """Whether `func` can be told a device, and has no tensor to take it from."""
    arguments = func._schema.arguments
    takes = any(argument.name == "device" for argument in arguments)
    return takes and not any("Tensor" in str(argument.type) for argument in arguments)
