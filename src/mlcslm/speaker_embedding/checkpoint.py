"""Speaker embeddings on disk: our folders of safetensors with a description, and public checkpoints, read strictly."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import atomic_folder, sha256
from mlcslm.io.metadata import changed_files, read_metadata
from mlcslm.speaker_embedding.networks import build_network

CARD_FILE, WEIGHTS_FILE = "model.json", "model.safetensors"
FORMAT_VERSION = 1
PICKLED = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *PICKLED)
# Left in WeSpeaker's public checkpoints by their training: the classifier of the training speakers.
CLASSIFIER = "projection."
LISTED = 8


@dataclass(frozen=True)
class EmbeddingCard:
    """What `model.json` says.

    network, size: what the weights fit; embedding_size: their embedding's; origin: "trained", or the public checkpoint
    they were taken from; seed, recipe, fingerprints: how it was trained and on what; speakers: classes in training;
    verification: of held-out voices, as `Verification` has it; sha256: of `model.safetensors`.
    """

    network: str
    size: dict[str, Any]
    embedding_size: int
    origin: str
    sha256: str
    seed: int | None = None
    speakers: int | None = None
    recipe: dict[str, Any] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    verification: dict[str, Any] | None = None
    format_version: int = FORMAT_VERSION


def save_embedding(folder: str | os.PathLike[str], model: nn.Module, **card: Any) -> EmbeddingCard:
    """Write `model.safetensors` and `model.json` as `folder`, which is replaced whole; return what the latter says."""
    with atomic_folder(folder, "speaker embedding", own=[CARD_FILE, WEIGHTS_FILE]) as temporary:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, temporary / WEIGHTS_FILE)
        written = EmbeddingCard(
            **card, embedding_size=int(model.embedding_size), sha256=sha256(temporary / WEIGHTS_FILE)
        )
        text = json.dumps(asdict(written), indent=2, ensure_ascii=False) + "\n"
        (temporary / CARD_FILE).write_text(text, encoding="utf-8")
    return written


def read_card(folder: str | os.PathLike[str]) -> EmbeddingCard:
    """What the embedding in `folder` is. Raises UserError where it is unreadable or its weights are others."""
    path = Path(folder) / CARD_FILE
    remedy = "Train or convert the embedding again."
    if not path.is_file():
        raise UserError(f"{path}: no such file. {remedy}")
    card = read_metadata(EmbeddingCard, path, FORMAT_VERSION, remedy)
    if faults := changed_files(path.parent, {WEIGHTS_FILE: card.sha256}):
        raise UserError(f"{faults[0]}. {remedy}")
    return card


def load_network(
    source: str | os.PathLike[str], network: str, size: Mapping[str, int | Sequence[int]] | None = None
) -> nn.Module:
    """The network with the weights of `source`: a folder of ours, a public checkpoint's file or folder, or a hub id.

    `size` has what differs from the public size; of a folder of ours it is not needed. Files of torch.save are read
    with `weights_only`, which makes tensors and plain containers and runs nothing. Raises UserError where there is no
    such checkpoint, FaultyInput naming missing and unexpected keys and other shapes where it is one of something else.
    """
    path = Path(source)
    if (path / CARD_FILE).is_file():
        card = read_card(path)
        if card.network != network:
            raise UserError(
                f"{path}: holds a {card.network}, expected a {network}. Name that network, or other weights."
            )
        size, weights_path = card.size, path / WEIGHTS_FILE
    else:
        weights_path = _find_weights(source)
    model = build_network(network, size)
    weights = _read_weights(weights_path)
    if network == "resnet101":
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(CLASSIFIER)}
    _refuse_others(weights_path, network, model.state_dict(), weights)
    model.load_state_dict(weights, strict=True)
    return model.eval()


def _find_weights(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    folder = path if path.is_dir() else _download(str(source))
    found = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)
    found = [file for file in found if file.suffix == ".safetensors"] or found
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UserError(
            f"{source}: weights files found: {names}; expected one ({', '.join(SUFFIXES)}). Name the file itself."
        )
    return found[0]


def _download(source: str) -> Path:
    """Folder of a model of the Hugging Face hub, from the local cache where it is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(source, allow_patterns=[f"*{suffix}" for suffix in SUFFIXES]))
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"speaker embedding {source}: neither a file or folder nor a model that the hub gives ({reason}). "
            "Give the path of the checkpoint."
        ) from None


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: not readable as weights ({reason}). Expected safetensors, or tensors that torch.save wrote; "
            "nothing else is unpickled."
        ) from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise UserError(f"{path}: holds {type(content).__name__}, expected tensors by parameter name.")
    return dict(content)


def _refuse_others(
    path: Path, network: str, expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]
) -> None:
    other_shapes = [
        f"{name}: shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    faults = [
        *_listed("missing", [name for name in expected if name not in found]),
        *_listed("unexpected", [name for name in found if name not in expected]),
        *_listed("of another shape", other_shapes),
    ]
    if faults:
        raise FaultyInput(
            f"{path}: no {network} of the configured size. Name the right network, or give its `size`.", faults
        )


def _listed(kind: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return [f"{len(names)} {kind}: {', '.join(names[:LISTED])}{more}"]
