"""Batches that do not fit into memory: halved, with a message, instead of ending the job."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from mlcslm.errors import UserError

Row = dict[str, Any]
# What PyTorch says, in errors of a general kind, where a CPU or a GPU's libraries have no memory to give. oneDNN, which
# computes convolutions on a CPU, does not say why it has no primitive; hardly anything but memory is missing.
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
    """Decodes with batches of `size` utterances, or of as many as have been found to fit.

    decode: one hypothesis a row of its batch; label: what messages call the decoding.
    """

    def __init__(self, decode: Callable[[Sequence[Row]], list[Row]], size: int, label: str) -> None:
        self._decode = decode
        self._label = label
        self.size = size

    def __call__(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Hypotheses of `rows`, batch by batch. Raises UserError where a single utterance does not fit."""
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
            # Nothing of the error outlives this function: its traceback holds the tensors that were too many.
            return None, lack_of_memory(error)

    def _halve(self, batch: Sequence[Row], error: str) -> None:
        self.size = halved(
            len(batch),
            error,
            label=self._label,
            one=f"utterance {batch[0]['utterance_id']} does not fit into memory alone",
            many=f"a batch of {len(batch)} utterances does",
            remedy="beams or max_new_tokens",
        )


def halved(size: int, error: str, *, label: str, one: str, many: str, remedy: str) -> int:
    """Half of a batch's `size`, with a message, once there is room again.

    one: what is said of a batch of one, which raises UserError; many: what does not fit, with its verb; remedy: keys of
    the decoding to lower.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if size == 1:
        raise UserError(f"{label}: {one} ({error}). Lower the decoding's {remedy}, or give the job more memory.")
    smaller = (size + 1) // 2
    print(
        f"{label}: {many} not fit into memory; going on with {smaller}. "
        f"A batch_size of {smaller} would save the attempt. ({error})",
        file=sys.stderr,
    )
    return smaller


def lack_of_memory(error: BaseException) -> str:
    """What the error says of the memory that was lacking, in a line; raises it again where it is another one."""
    if not is_out_of_memory(error):
        raise error
    return str(error).strip().split("\n")[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was lacking, of the GPU or of the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def length_buckets(
    rows: Sequence[dict[str, Any]], size: int, expected: Mapping[str, int] | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Batches of `size` utterances of similar length, the longest first: what does not fit shows at once.

    expected: lengths of the answers by utterance id, such as another decoding's; without them, the speech's length.
    """
    expected = expected or {}
    ordered = sorted(
        rows,
        key=lambda row: (-expected.get(row["utterance_id"], 0), row["start"] - row["end"], row["utterance_id"]),
    )
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]
