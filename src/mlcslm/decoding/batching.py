"""Batches too large for memory: halved, with a message, instead of failing the job."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

from mlcslm.errors import UserError

Row = dict[str, Any]
# What PyTorch's generic errors say when a CPU or a GPU's libraries run out of memory. oneDNN, which computes
# convolutions on a CPU, does not say why it could not create a primitive; it is nearly always memory.
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "ALLOC_FAILED",
    "could not create a primitive",
    "could not execute a primitive",
    "could not create a memory",
)


class FittingBatches:
    """Decodes in batches of `size` utterances, or of as many as turn out to fit.

    decode: returns one hypothesis per row of its batch; label: the decoding's name in messages.
    """

    def __init__(self, decode: Callable[[Sequence[Row]], list[Row]], size: int, label: str) -> None:
        self._decode = decode
        self._label = label
        self.size = size

    def __call__(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Hypotheses of `rows`, batch by batch. Raises UserError if a single utterance does not fit."""
        start = 0
        while start < len(rows):
            batch = rows[start : start + self.size]
            hypotheses, error = self._try(batch)
            if hypotheses is None:
                self._halve(batch, error)
                continue
            yield hypotheses
            start += len(batch)

    def _try(self, batch: Sequence[Row]) -> tuple[list[Row] | None, str]:
        try:
            return self._decode(batch), ""
        except (RuntimeError, MemoryError) as error:
            # The error must not outlive this function: its traceback holds on to the batch's tensors.
            return None, lack_of_memory(error)

    def _halve(self, batch: Sequence[Row], error: str) -> None:
        self.size = halved(
            len(batch),
            error,
            label=self._label,
            one=f"utterance {batch[0]['utterance_id']} does not fit into memory on its own",
            many=f"a batch of {len(batch)} utterances does",
            remedy="beams, candidates or max_new_tokens",
        )


def halved(size: int, error: str, *, label: str, one: str, many: str, remedy: str) -> int:
    """Half of a batch's `size`, with a message, after memory has been freed.

    one: the message for a batch of one, which raises UserError; many: what does not fit, with its verb; remedy: the
    decoding's keys to lower.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if size == 1:
        raise UserError(f"{label}: {one} ({error}). Lower the decoding's {remedy}, or give the job more memory.")
    smaller = (size + 1) // 2
    print(
        f"{label}: {many} not fit into memory; continuing with {smaller}. "
        f"Set batch_size to {smaller} to skip this attempt. ({error})",
        file=sys.stderr,
    )
    return smaller


def lack_of_memory(error: BaseException) -> str:
    """The first line of an out-of-memory error; any other error is raised again."""
    if not is_out_of_memory(error):
        raise error
    return str(error).strip().split("\n")[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the GPU or the machine ran out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def length_buckets(
    rows: Sequence[dict[str, Any]], size: int, expected: Mapping[str, int] | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Batches of `size` utterances of similar length, longest first, so that a batch that does not fit fails early.

    expected: answer lengths by utterance id, such as another decoding's; without them, the length of the speech counts.
    """
    expected = expected or {}
    ordered = sorted(
        rows,
        key=lambda row: (-expected.get(row["utterance_id"], 0), row["start"] - row["end"], row["utterance_id"]),
    )
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


def with_next(batches: Iterable[list[Row]]) -> Iterator[tuple[list[Row], list[Row]]]:
    """Each batch with the one after it, which is empty at the end."""
    batches = iter(batches)
    batch = next(batches, None)
    while batch is not None:
        following = next(batches, None)
        yield batch, following or []
        batch = following
