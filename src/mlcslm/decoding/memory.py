"""Batches that do not fit into memory: halved, with a message, instead of ending the job."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from mlcslm.errors import UserError

Row = dict[str, Any]
# What PyTorch says, in errors of a general kind, where a CPU or a GPU's libraries have no memory to give.
_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


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
            if not is_out_of_memory(error):
                raise
            # Nothing of the error outlives this function: its traceback holds the tensors that were too many.
            return None, str(error).strip().split("\n")[0]

    def _halve(self, batch: Sequence[Row], error: str) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(batch) == 1:
            raise UserError(
                f"{self._label}: utterance {batch[0]['utterance_id']} does not fit into memory alone ({error}). "
                "Lower the decoding's beams or max_new_tokens, or give the job more memory."
            )
        self.size = (len(batch) + 1) // 2
        print(
            f"{self._label}: a batch of {len(batch)} utterances does not fit into memory; going on with {self.size}. "
            f"A batch_size of {self.size} would save the attempt. ({error})",
            file=sys.stderr,
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was lacking, of the GPU or of the machine."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
