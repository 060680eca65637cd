"""Steps of fixed shape: the same answers, and few enough shapes for a compiler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.batching import FittingBatches
from mlcslm.decoding.compiled_tree import CompiledTrees
from mlcslm.decoding.decoder import Decoder

METHODS = {
    "greedy": {},
    "multinomial": {"method": "multinomial", "temperature": 1.3},
    "beam": {"method": "beam", "beams": 5},
    "beam+sampling": {"method": "beam+sampling", "beams": 4, "temperature": 1.5},
}


def answers(decoder: Decoder, batches: list[list[dict]], compiled_trees: CompiledTrees | None, **settings: Any) -> list:
    decoder.decoding = DecodingConfig(max_new_tokens=40, seed=3, **settings)
    decoder.compiled_trees = compiled_trees
    return [hypothesis["raw_text"] for rows in batches for hypothesis in decoder.decode(rows)]


@pytest.mark.parametrize("settings", METHODS.values(), ids=METHODS)
def test_answers_are_those_of_growing_trees(decoder: Decoder, tones: Path, settings: dict[str, Any]) -> None:
    rows = pq.read_table(tones).to_pylist()
    # Memory that another batch has written to, of more utterances and of fewer.
    batches = [rows, rows[3:5], rows[1:]]
    compiled_trees = CompiledTrees(lambda function: function)
    assert answers(decoder, batches, compiled_trees, **settings) == answers(decoder, batches, None, **settings)


def test_a_compiler_sees_a_few_whole_graphs(decoder: Decoder, tones: Path) -> None:
    rows = pq.read_table(tones).to_pylist()
    shapes = []

    def compiler(function: Callable) -> Callable:
        def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable:
            shapes.append(len(inputs))
            return graph.forward

        # fullgraph: whatever would break a graph, and so keep a step from being replayed whole, is an error.
        return torch.compile(function, backend=backend, fullgraph=True, dynamic=False)

    batches = [rows[:8], rows[1:9], rows[2:10]]
    compiled_trees = CompiledTrees(compiler)
    assert answers(decoder, batches, compiled_trees) == answers(decoder, batches, None)
    # Batches of 8, and of the 2 that are left once 6 have ended; not a graph a step or a batch.
    assert 1 <= len(shapes) <= 2


def test_what_cannot_be_compiled_is_decoded_all_the_same(
    decoder: Decoder, tones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def compiler(function: Callable) -> Callable:
        def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable:
            raise RuntimeError("no such instruction")

        return torch.compile(function, backend=backend)

    rows = pq.read_table(tones).to_pylist()[:4]
    assert answers(decoder, [rows, rows], CompiledTrees(compiler)) == answers(decoder, [rows, rows], None)
    assert capsys.readouterr().err.count("cannot be compiled; continuing without") == 1


def test_a_batch_that_does_not_fit_leaves_no_memory_behind(decoder: Decoder, tones: Path) -> None:
    rows = pq.read_table(tones).to_pylist()[:8]
    rows_read = []

    def compiler(function: Callable) -> Callable:
        def read(model: Any, cache: Any, tokens: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
            rows_read.append(len(cache.layers[0].keys))
            if len(tokens) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return function(model, cache, tokens, *others)

        return read

    decoder.decoding, decoder.compiled_trees = DecodingConfig(max_new_tokens=40), CompiledTrees(compiler)
    parts = list(FittingBatches(decoder.decode, 8, "a decoding")(rows))
    assert [len(part) for part in parts] == [4, 4]
    assert [one["raw_text"] for part in parts for one in part] == answers(decoder, [rows], None)
    # The first of all steps was of 8.
    assert (rows_read[0], max(rows_read[1:])) == (8, 4)
