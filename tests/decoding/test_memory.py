"""Batches that do not fit are halved, with a message, and the hypotheses are the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from mlcslm.config.schema import DecodingConfig
from mlcslm.decoding.batching import FittingBatches, is_out_of_memory
from mlcslm.decoding.decoder import Decoder
from mlcslm.decoding.generation import DecodingPaths, decode_split
from mlcslm.errors import UserError

pytestmark = pytest.mark.slow

LACKS_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("could not create a primitive"),
    MemoryError(),
]


def fitting(limit: int, error: BaseException) -> tuple[Callable[..., list[dict]], list[int]]:
    """A decode function that has memory for `limit` utterances, and the sizes it was called with."""
    sizes: list[int] = []

    def decode(rows: Sequence[dict]) -> list[dict]:
        sizes.append(len(rows))
        if len(rows) > limit:
            raise error
        return list(rows)

    return decode, sizes


@pytest.mark.parametrize("error", LACKS_MEMORY, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_is_halved(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    decode, sizes = fitting(3, error)
    batches = FittingBatches(decode, 10, "decoding a dev")
    rows = [{"utterance_id": f"u{number}"} for number in range(10)]
    assert [row for batch in batches(rows) for row in batch] == rows
    assert sizes == [10, 5, 3, 3, 3, 1]
    assert [row for batch in batches(rows[:5]) for row in batch] == rows[:5]
    assert sizes[6:] == [3, 2]  # what was found to fit is kept to
    said = capsys.readouterr().err
    assert "decoding a dev: a batch of 10 utterances does not fit into memory; continuing with 5." in said
    assert said.count("does not fit") == 2


def test_an_utterance_that_does_not_fit_alone_is_named() -> None:
    decode, sizes = fitting(0, LACKS_MEMORY[0])
    with pytest.raises(UserError, match=r"utterance u0 does not fit into memory on its own \(CUDA out of memory"):
        list(FittingBatches(decode, 2, "decoding")([{"utterance_id": "u0"}, {"utterance_id": "u1"}]))
    assert sizes == [2, 1]


def test_other_errors_are_not_taken_for_it() -> None:
    decode, _ = fitting(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        list(FittingBatches(decode, 2, "decoding")([{"utterance_id": "u0"}]))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_what_pytorch_raises_is_known() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(raised.value)


def test_a_decoding_without_memory_for_its_batches_gives_the_same(
    trained: Path, tones: Path, languages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str) -> list[dict]:
        paths = DecodingPaths(trained, tones, tmp_path / name)
        decode_split(paths, DecodingConfig(max_new_tokens=20, batch_size=16), languages)
        return pq.read_table(paths.out).drop_columns("seconds").to_pylist()

    undisturbed = run("whole.parquet")
    decode, sizes = Decoder.decode, []

    def lacking(self: Decoder, rows: Sequence[dict]) -> list[dict[str, Any]]:
        sizes.append(len(rows))
        if len(rows) > 6:
            raise LACKS_MEMORY[0]
        return decode(self, rows)

    monkeypatch.setattr(Decoder, "decode", lacking)
    assert run("halved.parquet") == undisturbed
    assert sizes == [16, 8, 4, 4, 4, 4, 4, 4]
