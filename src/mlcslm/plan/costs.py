"""What training each stage costs: the plan's operations, as a file for the results."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from mlcslm.io.parquet import write_table
from mlcslm.plan.micro_batch import Meter
from mlcslm.plan.shapes import read_shapes
from mlcslm.plan.stages import Planner
from mlcslm.plan.throughput import read_throughput
from mlcslm.plan.workload import split_sizes
from mlcslm.workflow.layout import Layout

SCHEMA = pa.schema(
    [("checkpoint", pa.string()), ("parent", pa.string()), ("steps", pa.int32()), ("flop", pa.float64())]
)


def write_stage_costs(
    layout: Layout, stages: Collection[str], out: Path, *, throughput: str | Path = "config/throughput.yaml"
) -> None:
    """Write operations of all steps of each of `stages`, in the configuration's order, as Parquet (`SCHEMA`).

    They are the plan's (`mlcslm plan`): of utterances of mean length, counted from the manifest if there is one. The
    parent of the first stage is null. Raises UserError for models that cannot be found.
    """
    config = layout.config
    table = read_throughput(throughput)
    shapes = read_shapes(config.models.encoder, config.models.language_model, config.languages)
    train = split_sizes(layout, table.corpus)["train"]
    planner = Planner(config, Meter(shapes, config.models), table.text, train, table.gpus[table.gpu])
    rows = []
    for name in (one for one in config.stages if one in stages):
        stage = planner(name)
        parent = None if stage.parent == "foundation" else stage.parent
        rows.append({"checkpoint": name, "parent": parent, "steps": stage.steps, "flop": stage.steps * stage.flops})
    write_table(pa.Table.from_pylist(rows, schema=SCHEMA), out)
