"""A speech LLM as a model-hub folder: complete, adapters merged, loadable without its foundation models.

config.json, generation_config.json, model*.safetensors; the tokenizer's and the feature extractor's files;
languages.tsv (tokens and prompts of the groups); mlcslm.json (template, decoding, provenance, SHA-256 of each file;
written last). Nothing is pickled, and no code comes with the weights.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from transformers import AutoTokenizer, WhisperFeatureExtractor
from transformers.utils import logging

import mlcslm
from mlcslm.config.languages import read_languages
from mlcslm.config.model_sources import split_source
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import sha256, write_json
from mlcslm.io.metadata import changed_files, read_metadata
from mlcslm.model.checkpoint_file import CheckpointInfo
from mlcslm.model.ctc import HEAD_FILES, load_ctc_head
from mlcslm.model.lora import merge_lora
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM

EXPORT_FILE = "mlcslm.json"
LANGUAGES_FILE = "languages.tsv"
FORMAT_VERSION = 1
MAX_FILE_SIZE = "5GB"
_CARD = "README.md"  # for readers, who may edit it


@dataclass(frozen=True)
class ExportInfo:
    """Contents of `mlcslm.json`.

    checkpoint, parent: the stage's and its parent's name; template: of prompt and answer; context: how many previous
    transcripts the prompt may contain; decoding: settings to decode with; recipe: how the stage was trained;
    foundation: name and fingerprint of encoder and language model; dtype: of the weights; mlcslm_version: the version
    that wrote it; files: SHA-256 by file name.
    """

    checkpoint: str
    parent: str
    template: str
    context: int
    decoding: dict[str, Any]
    recipe: dict[str, Any]
    foundation: dict[str, dict[str, str]]
    dtype: str
    mlcslm_version: str
    files: dict[str, str]
    format_version: int = FORMAT_VERSION


def save_export(
    folder: Path,
    model: SpeechLLM,
    processor: SpeechProcessor,
    checkpoint: CheckpointInfo,
    *,
    languages: str | os.PathLike[str],
    decoding: Mapping[str, Any],
    ctc: Path | None = None,
) -> ExportInfo:
    """Write `model` (of `checkpoint`; its adapters are merged in place) into the existing `folder`; return its info.

    languages: the languages table that the model was built with; decoding: the default decoding settings;
    ctc: folder of the CTC head that these need, to go with the model.
    """
    if not model.lora_is_merged:
        merge_lora(model)
    drop_adapters(model)
    with quiet_transformers():
        model.save_pretrained(folder, max_shard_size=MAX_FILE_SIZE)
        processor.tokenizer.save_pretrained(folder)
        processor.features.feature_extractor.save_pretrained(folder)
    clean_config(folder / "config.json")
    (folder / LANGUAGES_FILE).write_bytes(Path(languages).read_bytes())
    if ctc is not None:
        load_ctc_head(ctc, model)  # checks it
        for name in HEAD_FILES:
            shutil.copyfile(ctc / name, folder / name)
    return describe_export(folder, model, checkpoint, decoding)


def describe_export(
    folder: Path, model: SpeechLLM, checkpoint: CheckpointInfo, decoding: Mapping[str, Any]
) -> ExportInfo:
    """Write `mlcslm.json` of the files in `folder`; return its contents."""
    info = ExportInfo(
        checkpoint=checkpoint.name,
        parent=checkpoint.parent,
        template=checkpoint.recipe["template"],
        context=checkpoint.recipe.get("context", 0),
        decoding=dict(decoding),
        recipe=checkpoint.recipe,
        foundation={
            kind: {**about, "source": public_name(about["source"])} for kind, about in model.foundation.items()
        },
        dtype=str(model.dtype).removeprefix("torch."),
        mlcslm_version=mlcslm.__version__,
        files={path.name: sha256(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != _CARD},
    )
    write_json(folder / EXPORT_FILE, asdict(info))
    return info


def read_export(folder: str | os.PathLike[str], *, verify: bool = True) -> ExportInfo:
    """Contents of `mlcslm.json` in `folder`; with `verify`, after checking each file's SHA-256.

    Raises UserError naming the file at fault.
    """
    folder = Path(folder)
    path = folder / EXPORT_FILE
    if not path.is_file():
        raise UserError(f"{path}: no such file, so {folder} is not an exported model; create one with `mlcslm export`.")
    info = read_metadata(ExportInfo, path, FORMAT_VERSION, "Export the checkpoint again.")
    if verify and (faults := changed_files(folder, info.files)):
        raise FaultyInput(f"{folder}: not the model that was exported; copy or export it again.", faults)
    return info


def load_export(
    folder: str | os.PathLike[str], *, dtype: str | None = None
) -> tuple[SpeechLLM, SpeechProcessor, ExportInfo]:
    """The exported speech LLM in `folder` (in eval mode), its processor and description. Needs only the folder.

    dtype: of the weights, by default as saved. Raises UserError if the folder is not an intact export.
    """
    folder = Path(folder)
    info = read_export(folder)
    if (folder / "audio").is_dir():
        raise UserError(
            f"{folder}: a merged export, for engines that serve language models (docs/serving.md). To load it here, "
            "export the checkpoint without --format merged."
        )
    try:
        with quiet_transformers():
            loaded = SpeechLLM.from_pretrained(
                folder, dtype=getattr(torch, dtype or info.dtype), use_safetensors=True, output_loading_info=True
            )
            model, report = cast("tuple[SpeechLLM, dict[str, Any]]", loaded)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            extractor = WhisperFeatureExtractor.from_pretrained(folder)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(f"{folder}: cannot be loaded ({error}). Export the checkpoint again.") from error
    if missing := sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}):
        raise FaultyInput(f"{folder}: its weights do not match its config.json; export it again.", missing)
    processor = SpeechProcessor(
        tokenizer,
        extractor,
        read_languages(folder / LANGUAGES_FILE),
        encoder_window=model.config.encoder_window,
        max_mel_frames=model.model.encoder.max_mel_frames,
    )
    # Like a checkpoint loaded for decoding, a merged model cannot be saved as a checkpoint.
    model.lora_is_merged = True
    model.foundation = info.foundation
    return model.eval(), processor, info


def public_name(source: str) -> str:
    """The publishable form of a model's source: a hub id or a relative path; of any other path the last part.

    >>> public_name("openai/whisper-base"), public_name("/data/models/whisper-base"), public_name("../base")
    ('openai/whisper-base', 'whisper-base', 'base')
    """
    source, _ = split_source(source)
    path = Path(source)
    return path.name if path.is_absolute() or source.startswith("~") or ".." in path.parts else source


def drop_adapters(model: SpeechLLM) -> None:
    """Replace each adapter with its merged weights, so that names are those of a model without adapters."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())


def clean_config(path: Path) -> None:
    """Drop `auto_map`, which names code files that are not in the folder, and make source names public."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("auto_map", None)
    for section in (config, *(value for value in config.values() if isinstance(value, dict))):
        if section.get("_name_or_path"):
            section["_name_or_path"] = public_name(section["_name_or_path"])
    write_json(path, config)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' own progress bars."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()
