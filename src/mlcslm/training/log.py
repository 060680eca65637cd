"""The training log: one row per step, written as it happens, intact after any interruption; and a progress bar."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mlcslm.io.files import atomic_path, read_rows
from mlcslm.io.parquet import write_table
from mlcslm.runtime.progress import progress
from mlcslm.training.telemetry import Telemetry

SCHEMA = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("step", pa.int32()),
        ("loss", pa.float64()),
        ("learning_rate", pa.float64()),
        ("tokens_per_second", pa.float64()),
        ("seconds", pa.float64()),
    ]
)


class TrainingLog(TrainerCallback):
    """Appends a line per logged step to `path` (JSON lines); steps repeated after a resume replace their lines.

    telemetry: of a reinforcement stage, to add its columns; columns: further ones of a step.
    """

    def __init__(self, path: str | os.PathLike[str], name: str, telemetry: Telemetry | None = None) -> None:
        self.path = Path(path)
        self.name = name
        self.telemetry = telemetry
        self.trainer: Any = None
        self.columns: Callable[[int], Mapping[str, float | None]] = lambda step: {}
        self._rows: list[dict[str, Any]] = []
        self._bar: tqdm[Any] | None = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Drop lines beyond the step that training resumes from; open the bar. Only the first process keeps a log."""
        if not state.is_world_process_zero:
            return
        rows = [row for row in read_rows(self.path) if row["step"] <= state.global_step]
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        self._rows = rows
        self._elapsed = rows[-1]["seconds"] if rows else 0.0
        self._last = time.monotonic()
        self._tokens = 0
        self._bar = progress(state.max_steps, self.name, "step", initial=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Append a line for this step."""
        if logs is None or "loss" not in logs or self._bar is None:
            return
        now, tokens = time.monotonic(), self.trainer.tokens_seen
        passed, self._last = now - self._last, now
        self._elapsed += passed
        row = {
            "step": state.global_step,
            "loss": float(logs["loss"]),
            "learning_rate": float(logs["learning_rate"]),
            "tokens_per_second": (tokens - self._tokens) * args.world_size / passed,
            "seconds": self._elapsed,
        }
        if self.telemetry is not None:
            row |= self.telemetry(logs, self._rows)
        row |= self.columns(state.global_step)
        self._rows.append(row)
        self._tokens = tokens
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
        self._bar.update(state.global_step - self._bar.n)

    @property
    def is_collapsed(self) -> bool:
        """Whether the last step's answers count as collapsed; never in processes that keep no log."""
        return bool(self._rows and self._rows[-1].get("collapsed"))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()


def write_training_log(
    source: Path, out: Path, checkpoint: str, telemetry: Telemetry | None = None, fields: Sequence[pa.Field] = ()
) -> None:
    """Turn a log of JSON lines into `training_log.parquet`, with those of `telemetry` and `fields` as last columns."""
    schema = pa.schema([*SCHEMA, *(telemetry.fields if telemetry else ()), *fields])
    rows = [{"checkpoint": checkpoint, **row} for row in read_rows(source)]
    write_table(pa.Table.from_pylist(rows, schema=schema), out)
