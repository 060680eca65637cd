"""What training each stage costs: the plan's operations, as a file for the results."""

from __future__ import annotations

import functools
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from mlcslm.config.decoding import CtcConfig
from mlcslm.io.parquet import read_table, write_table
from mlcslm.plan.micro_batch import Meter
from mlcslm.plan.shapes import read_shapes
from mlcslm.plan.stages import Planner
from mlcslm.plan.throughput import read_throughput
from mlcslm.plan.workload import split_sizes
from mlcslm.text.characters import characters
from mlcslm.workflow.layout import Layout

SCHEMA = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("parent", pa.string()),
        ("steps", pa.int32()),
        ("flop", pa.float64()),
        ("ctc_flop", pa.float64()),
    ]
)
_FRAMES_A_SECOND = 50


def write_stage_costs(
    layout: Layout, stages: Collection[str], out: Path, *, throughput: str | Path = "config/throughput.yaml"
) -> None:
    """Write operations of all steps of each of `stages`, in the configuration's order, as Parquet (`SCHEMA`).

    They are the plan's (`mlcslm plan`): of utterances of mean length, counted from the manifest if there is one. The
    parent of the first stage is null. Those of a stage include its folds' CTC heads, and the stages whose hypotheses it
    reads (`Config.read_by`) unless its parent takes them as well. `ctc_flop`: of training the CTC head on the
    checkpoint's encoder, null if there is none or no manifest yet. Raises UserError for models that cannot be found.
    """
    config = layout.config
    table = read_throughput(throughput)
    shapes = read_shapes(config.models.encoder, config.models.language_model, config.languages)
    train = split_sizes(layout, table.corpus)["train"]
    planner = Planner(config, Meter(shapes, config.models), table.text, train, table.gpus[table.gpu])
    heads = bool(layout.ctc_settings())
    alphabet = _letters(layout.training_manifest()) if heads else 0
    ctc = ctc_flop(config.ctc, shapes.encoder.d_model, alphabet, train.mean_s) if alphabet else None
    rows = []
    planned = functools.cache(planner)
    for name in (one for one in config.stages if one in stages):
        stage = planned(name)
        parent = None if stage.parent == "foundation" else stage.parent
        folds = config.ctc.folds if config.hears_ctc(name) else 0
        besides = set(config.needed(name)) - {*config.lineage(name), *(config.needed(parent) if parent else ())}
        flop = sum(planned(one).steps * planned(one).flops for one in (name, *besides)) + folds * (ctc or 0.0)
        rows.append({"checkpoint": name, "parent": parent, "steps": stage.steps, "flop": flop, "ctc_flop": ctc})
    write_table(pa.Table.from_pylist(rows, schema=SCHEMA), out)


def ctc_flop(config: CtcConfig, width: int, letters: int, seconds: float) -> float:
    """Operations of training a CTC head on cached frames of `width`: its products forwards, and its weights' gradients.

    seconds: mean length of an utterance. The encoder's outputs are those that the stages read.

    >>> ctc_flop(CtcConfig(steps=1, batch_size=1), width=10, letters=9, seconds=1.0)
    20000.0
    """
    frames = config.steps * config.batch_size * seconds * _FRAMES_A_SECOND
    return 4.0 * frames * width * (letters + 1)


def _letters(manifest: Path) -> int:
    """Size of the alphabet of a manifest's transcripts; 0 without a manifest."""
    if not manifest.is_file():
        return 0
    texts = read_table(manifest, columns=["text"])["text"].to_pylist()
    return len(set("".join(characters(text) for text in texts if text)))
