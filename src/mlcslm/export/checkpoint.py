"""Export a checkpoint and its measured results as a model-hub folder with a model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.languages import read_languages
from mlcslm.config.reading import parse_config
from mlcslm.decoding.decoder import needs_ctc_head
from mlcslm.decoding.first_pass import refuse_other_checkpoints
from mlcslm.errors import UserError
from mlcslm.export.model_card import Measured, model_card, read_measured
from mlcslm.io.files import atomic_folder
from mlcslm.io.places import check_output_folder
from mlcslm.model.checkpoint import load_checkpoint
from mlcslm.model.checkpoint_file import CheckpointInfo, read_checkpoint
from mlcslm.model.ctc import head_beside
from mlcslm.model.exported import EXPORT_FILE, save_export
from mlcslm.model.lora import merge_lora
from mlcslm.model.merged import save_merged
from mlcslm.model.precision import model_dtype

_CHECKPOINTS = "checkpoints"
_DATABASE = "results.duckdb"
_KIND = "model export"


def export_checkpoint(
    checkpoint: Path,
    folder: Path,
    *,
    languages: Path,
    database: Path | None = None,
    decoding: str = "greedy",
    encoder: str | None = None,
    language_model: str | None = None,
    dtype: str | None = None,
    name: str | None = None,
    licence: str | None = None,
    merged: bool = False,
    force: bool = False,
) -> str:
    """Write the checkpoint in the folder `checkpoint` to `folder` atomically; return a summary of what was written.

    database: a results database for the card, by default that of the results which the checkpoint lies in; decoding:
    name of the default one, whose settings are the database's; merged: as a plain language model with its audio side
    beside it (`save_merged`), instead of one model; others as `load_checkpoint` takes them. Raises UserError
    for a checkpoint that cannot be loaded or needs answers of another, and as `check_output_folder` does, which takes
    `force`.
    """
    given = (checkpoint, languages, database, encoder, language_model)
    inputs = [one for one in given if one is not None and Path(one).exists()]
    check_output_folder(folder, _KIND, sign=EXPORT_FILE, force=force, inputs=inputs)
    info = read_checkpoint(checkpoint)
    refuse_other_checkpoints(info.recipe, info.name)
    measured = _measured(checkpoint, info, database, decoding)
    settings = _settings(measured, decoding, info)
    head = needs_ctc_head(info.recipe, settings)
    if head and merged:
        why = "chooses by" if settings.needs_ctc_head else "has a first pass in its prompts, of"
        raise UserError(
            f"{info.name} with decoding {decoding!r} {why} a CTC head, which engines that serve language models do not "
            "have; export without --format merged, or choose another."
        )
    groups = read_languages(languages)
    model, processor = load_checkpoint(
        checkpoint, languages=groups, encoder=encoder, language_model=language_model, dtype=dtype or model_dtype()
    )
    merge_lora(model)
    ctc = head_beside(checkpoint, model) if head else None
    with atomic_folder(folder, _KIND, sign=EXPORT_FILE, force=force, inputs=inputs) as temporary:
        save = save_merged if merged else partial(save_export, ctc=ctc)
        exported = save(
            temporary, model, processor, info, languages=languages, decoding=settings.model_dump(mode="json")
        )
        title = name or folder.resolve().name
        card = model_card(title, asdict(exported), groups, decoding, measured, licence, merged=merged)
        (temporary / "README.md").write_text(card, encoding="utf-8")
        size = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
    scored = (
        "without results in its card" if measured is None or not measured.systems else "with the results in its card"
    )
    return f"{folder}: {info.name} as {exported.dtype}, {size / 1e6:,.1f} MB, {scored}"


def _measured(checkpoint: Path, info: CheckpointInfo, database: Path | None, decoding: str) -> Measured | None:
    path = database or _database_of(checkpoint)
    return None if path is None else read_measured(path, info.name, decoding)


def _database_of(checkpoint: Path) -> Path | None:
    """`results.duckdb` next to the folder `checkpoints` that contains the checkpoint, if it exists."""
    for folder in (Path.cwd() / checkpoint).parents:
        if folder.name == _CHECKPOINTS:
            found = folder.parent / _DATABASE
            return found if found.is_file() else None
    return None


def _settings(measured: Measured | None, decoding: str, info: CheckpointInfo) -> DecodingConfig:
    """Settings of the export's default decoding."""
    if measured is None:
        return DecodingConfig()
    known: Mapping[str, DecodingConfig] = parse_config(measured.config, "results").decodings
    if decoding not in known:
        raise UserError(f"decoding {decoding!r}: not in the results; expected one of: {', '.join(known)}.")
    chosen = known[decoding]
    if chosen.context == "reference":
        raise UserError(f"decoding {decoding!r} reads references, which a new recording does not have; choose another.")
    if chosen.context == "hypotheses" and not info.recipe.get("context"):
        raise UserError(f"decoding {decoding!r} needs context, but {info.name} was trained without it; choose another.")
    return chosen
