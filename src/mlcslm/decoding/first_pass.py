"""First passes in prompts while a split is decoded: what a CTC head hears, and what another checkpoint has answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mlcslm.config.stages import first_passes_of
from mlcslm.errors import UserError
from mlcslm.io.parquet import read_table
from mlcslm.model.ctc import CtcHead

Heard = CtcHead | Mapping[str, str]
"""A first pass: the head that hears it, or transcripts by utterance id."""


def other_checkpoints(recipe: Mapping[str, Any]) -> list[str]:
    """Checkpoints whose answers are in the prompts of one that was trained as `recipe` says."""
    return [one["checkpoint"] for one in first_passes_of(recipe.get("first_pass", "none")) if one != "ctc"]


def refuse_other_checkpoints(recipe: Mapping[str, Any], name: str) -> None:
    """Raise UserError if the checkpoint `name` needs answers of others, which only the workflow has."""
    if others := other_checkpoints(recipe):
        raise UserError(
            f"{name}: its prompts contain what {others[0]} answers to the same utterance, so it works only in the "
            f"workflow, which decodes with both. Use {others[0]}, or another checkpoint without such a first pass."
        )


def open_first_passes(recipe: Mapping[str, Any], head: CtcHead | None, files: Sequence[Path], name: str) -> list[Heard]:
    """First passes in the prompts of the checkpoint `name`, trained as `recipe` says, in its order; mostly none.

    files: hypotheses of the other checkpoints among them, for the utterances to decode. Raises UserError if they or
    the `head` are missing.
    """
    found: list[Heard] = []
    answered = list(files)
    for one in first_passes_of(recipe.get("first_pass", "none")):
        if one != "ctc":
            if not answered:
                refuse_other_checkpoints(recipe, name)
            found.append(read_transcripts([answered.pop(0)]))
            continue
        if head is None:
            raise UserError(f"{name}: its prompts contain what a CTC head hears, but there is none here.")
        found.append(head)
    return found


def read_transcripts(files: Sequence[Path]) -> dict[str, str]:
    """Transcripts of hypotheses by utterance id, as they are scored: empty for an answer without one."""
    tables = [read_table(file, columns=["utterance_id", "transcript"]).to_pydict() for file in files]
    return {
        name: transcript or ""
        for table in tables
        for name, transcript in zip(table["utterance_id"], table["transcript"], strict=True)
    }


def heard_in(found: Sequence[Heard], utterance_id: str, frames: torch.Tensor) -> tuple[str, ...]:
    """The first passes of an utterance; frames (T, d): what the encoder hears in it."""
    return tuple(one.transcribe(frames) if isinstance(one, CtcHead) else one[utterance_id] for one in found)
