"""Checkpoints: what differs from the foundation models, as safetensors, and `checkpoint.json`.

projector.safetensors; embedding.safetensors (embedding and head: the added tokens' rows, or the whole matrix if it was
trained); lm_lora.safetensors and encoder_lora.safetensors if there are adapters. Nothing is pickled.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mlcslm.config.languages import Group
from mlcslm.config.model_sources import split_source
from mlcslm.config.stages import Part
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import atomic_path, sha256
from mlcslm.model.build import build_speech_llm
from mlcslm.model.checkpoint_file import CHECKPOINT_FILE, CheckpointInfo, read_checkpoint, write_checkpoint_file
from mlcslm.model.configuration import LoraSettings
from mlcslm.model.log_mel import EncoderWindow
from mlcslm.model.lora import LORA_MODULES, add_lora, has_lora
from mlcslm.model.new_rows import store_new_rows
from mlcslm.model.parts import is_tied, part_parameters
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM

PART_FILES = tuple(f"{name}.safetensors" for name in ("projector", "embedding", *LORA_MODULES))


def save_checkpoint(
    folder: str | os.PathLike[str],
    model: SpeechLLM,
    *,
    name: str,
    parent: str,
    recipe: Mapping[str, Any],
    fingerprints: Mapping[str, Any],
) -> CheckpointInfo:
    """Write what differs from the foundation into `folder`, `checkpoint.json` last; return the latter's contents.

    Each file is written under a temporary name, flushed, renamed and read back. Other files in the folder are kept. The
    same weights give the same bytes. Raises UserError if what is read back is not what was written.
    """
    if model.lora_is_merged:
        raise ValueError("a model with merged adapters cannot be saved")
    store_new_rows(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file in (CHECKPOINT_FILE, *PART_FILES):
        (folder / file).unlink(missing_ok=True)
    files = {}
    for file, slots in _slots_by_file(model).items():
        _write_tensors(folder / file, {name: slot.read() for name, slot in slots.items()})
        files[file] = sha256(folder / file)
    info = CheckpointInfo(
        name=name,
        parent=parent,
        recipe=dict(recipe),
        fingerprints=dict(fingerprints),
        foundation=model.foundation,
        parts=sorted(model.changed_parts),
        lora=asdict(model.lora_settings),
        tokens=model.config.added_tokens,
        projector_hidden=model.config.projector_hidden,
        encoder_window=model.config.encoder_window,
        files=files,
    )
    write_checkpoint_file(folder, info)
    return info


def load_checkpoint(
    folder: str | os.PathLike[str],
    *,
    languages: Mapping[str, Group],
    encoder: str | None = None,
    language_model: str | None = None,
    dtype: str = "float32",
    training: bool = False,
    attn_implementation: str | None = None,
) -> tuple[SpeechLLM, SpeechProcessor]:
    """The speech LLM of the checkpoint in `folder`, in eval mode, and its processor.

    encoder, language_model: the foundation models' hub ids or folders, by default those it was trained from; dtype: of
    the weights; training: keep the checkpoint's own weights as precise as saved, to continue training them.
    Raises UserError for a folder that is not an intact checkpoint, other foundation models, or other languages.
    """
    info = read_checkpoint(folder)
    trained_from = info.foundation["language_model"]["source"]
    if language_model is None and split_source(trained_from)[1]:
        raise UserError(
            f"{folder}: trained from {trained_from}, a model with its own Python code. A checkpoint cannot authorise "
            "running it: specify the language model explicitly."
        )
    model, processor = build_speech_llm(
        encoder=encoder or info.foundation["encoder"]["source"],
        language_model=language_model or trained_from,
        languages=languages,
        projector_hidden=info.projector_hidden,
        encoder_window=cast("EncoderWindow", info.encoder_window),
        dtype=dtype,
        lora=LoraSettings(**info.lora),
        attn_implementation=attn_implementation,
    )
    _refuse_other_model(Path(folder), info, model)
    for part in LORA_MODULES:
        if part in info.parts:
            add_lora(model, part, seed=0)
    model.changed_parts = set(info.parts)
    model.encoder_adapters = info.files.get("encoder_lora.safetensors", "")
    for file, slots in _slots_by_file(model).items():
        _load_tensors(Path(folder) / file, slots, keep_dtype=training)
    return model.eval(), processor


@dataclass(frozen=True)
class _Slot:
    """Where a stored tensor goes in the model: a whole parameter, or some of its rows."""

    parameter: nn.Parameter
    rows: list[int] | None = None

    def read(self) -> torch.Tensor:
        values = self.parameter.detach() if self.rows is None else self.parameter.detach()[self.rows]
        return values.cpu().contiguous()

    def write(self, values: torch.Tensor, *, keep_dtype: bool) -> None:
        dtype = values.dtype if keep_dtype and self.rows is None else self.parameter.dtype
        values = values.to(self.parameter.device, dtype)
        if self.rows is None:
            self.parameter.data = values
        else:
            self.parameter.data[self.rows] = values


def _slots_by_file(model: SpeechLLM) -> dict[str, dict[str, _Slot]]:
    """Contents of the model's checkpoint, by file and tensor name: the changed parts and the added tokens' rows."""
    files = {"projector.safetensors": _whole(part_parameters(model, "projector")), "embedding.safetensors": {}}
    matrices: list[Part] = ["embedding"] if is_tied(model) else ["embedding", "head"]
    rows = sorted(model.config.added_tokens.values())
    for part in matrices:
        is_changed = part in model.changed_parts or (is_tied(model) and "head" in model.changed_parts)
        for name, parameter in part_parameters(model, part).items():
            slot = (
                {f"{part}.{name}": _Slot(parameter)} if is_changed else {f"{part}.{name}.rows": _Slot(parameter, rows)}
            )
            files["embedding.safetensors"] |= slot
    for part in LORA_MODULES:
        if has_lora(model, part):
            files[f"{part}.safetensors"] = _whole(part_parameters(model, part))
    return files


def _whole(parameters: Mapping[str, nn.Parameter]) -> dict[str, _Slot]:
    return {name: _Slot(parameter) for name, parameter in parameters.items()}


def _write_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)
    written = load_file(path)
    # Compare bytes, not values, so that a NaN equals itself.
    if any(not torch.equal(written[name].view(torch.uint8), tensors[name].view(torch.uint8)) for name in tensors):
        raise UserError(f"{path}: read back differently than written. Check the disk, then train the stage again.")


def _load_tensors(path: Path, slots: Mapping[str, _Slot], *, keep_dtype: bool) -> None:
    try:
        stored = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: not readable as safetensors ({error}). Train the stage again.") from error
    expected = {name: tuple(slot.read().shape) for name, slot in slots.items()}
    found = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    if found != expected:
        faults = [
            f"{name}: found {found.get(name, 'nothing')}, expected {expected.get(name, 'nothing')}"
            for name in sorted(found | expected)
            if found.get(name) != expected.get(name)
        ]
        raise FaultyInput(f"{path}: its tensors belong to another model.", faults)
    for name, slot in slots.items():
        slot.write(stored[name], keep_dtype=keep_dtype)


def _refuse_other_model(folder: Path, info: CheckpointInfo, model: SpeechLLM) -> None:
    faults = []
    for kind, trained_on in info.foundation.items():
        given = model.foundation[kind]
        if given["fingerprint"] != trained_on["fingerprint"]:
            faults.append(
                f"{kind}: found {given['source']} (fingerprint {given['fingerprint'][:12]}…), "
                f"trained with {trained_on['source']} ({trained_on['fingerprint'][:12]}…)"
            )
    if model.config.added_tokens != info.tokens:
        faults.append(
            f"added tokens: the languages table gives {model.config.added_tokens}, trained with {info.tokens}"
        )
    if faults:
        raise FaultyInput(f"{folder}: checkpoint of another speech LLM. Specify what it was trained with.", faults)
