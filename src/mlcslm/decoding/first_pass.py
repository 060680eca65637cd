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


def refuse_other_checkpoints(recipe: Mapping[str, Any], name: str) -> None:
    """Raise UserError if the prompts of the checkpoint `name`, trained as `recipe` says, have answers of another."""
    for one in first_passes_of(recipe.get("first_pass", "none")):
        if one != "ctc":
            other = one["checkpoint"]
            raise UserError(
                f"{name}: its prompts contain what {other} answers to the same utterance, so it works only in the "
                f"workflow, which decodes with both. Use {other}, or another checkpoint without such a first pass."
            )


def open_first_passes(recipe: Mapping[str, Any], head: CtcHead | None, files: Sequence[Path], name: str) -> list[Heard]:
    """First passes in the prompts of the checkpoint `name`, trained as `recipe` says, in its order; mostly none.

    files: hypotheses of the other checkpoints among them, for the utterances to decode. Raises UserError if they or
    the `head` are missing.
    """
    if not files:
        refuse_other_checkpoints(recipe, name)
    found: list[Heard] = []
    answered = iter(files)
    for one in first_passes_of(recipe.get("first_pass", "none")):
        if one == "ctc" and head is None:
            raise UserError(f"{name}: its prompts contain what a CTC head hears, but there is none here.")
        found.append(head if one == "ctc" and head is not None else _transcripts(next(answered)))
    return found


def _transcripts(file: Path) -> dict[str, str]:
    """Transcripts of hypotheses by utterance id, as they are scored: empty for an answer without one."""
    columns = read_table(file, columns=["utterance_id", "transcript"]).to_pydict()
    return {name: transcript or "" for name, transcript in zip(*columns.values(), strict=True)}


def heard_in(found: Sequence[Heard], utterance_id: str, frames: torch.Tensor) -> tuple[str, ...]:
    """The first passes of an utterance; frames (T, d): what the encoder hears in it."""
    return tuple(one.transcribe(frames) if isinstance(one, CtcHead) else one[utterance_id] for one in found)
