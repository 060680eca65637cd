"""Speaker embeddings on disk: our folders of safetensors with a card, and public checkpoints, loaded strictly."""

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

from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import atomic_folder, sha256
from mlcslm.io.metadata import changed_files, read_metadata
from mlcslm.speaker_embedding.base import SpeakerNetwork
from mlcslm.speaker_embedding.networks import build_network

CARD_FILE, WEIGHTS_FILE = "model.json", "model.safetensors"
FORMAT_VERSION = 1
PICKLED = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *PICKLED)
# WeSpeaker's public checkpoints still contain the classifier of the training speakers.
CLASSIFIER = "projection."
MAX_LISTED = 8


@dataclass(frozen=True)
class EmbeddingCard:
    """Contents of `model.json`.

    network, size: what the weights belong to; embedding_size: of the output; origin: "trained", or the public
    checkpoint that the weights come from; seed, recipe, fingerprints: how and on what it was trained; speakers: classes
    in training; verification: on held-out voices, the fields of `Verification`; sha256: of `model.safetensors`.
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


def save_embedding(folder: str | os.PathLike[str], model: SpeakerNetwork, **card: Any) -> EmbeddingCard:
    """Write `model.safetensors` and `model.json` to `folder`, replacing it; return the latter's contents."""
    with atomic_folder(folder, "speaker embedding", own=[CARD_FILE, WEIGHTS_FILE]) as temporary:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, temporary / WEIGHTS_FILE)
        written = EmbeddingCard(**card, embedding_size=model.embedding_size, sha256=sha256(temporary / WEIGHTS_FILE))
        text = json.dumps(asdict(written), indent=2, ensure_ascii=False) + "\n"
        (temporary / CARD_FILE).write_text(text, encoding="utf-8")
    return written


def read_card(folder: str | os.PathLike[str]) -> EmbeddingCard:
    """Contents of `model.json` in `folder`. Raises UserError if it is unreadable or the weights have changed."""
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
) -> SpeakerNetwork:
    """The network with the weights of `source`: one of our folders, a public checkpoint's file or folder, or a hub id.

    size: what differs from the public size; not needed for our folders. Files of torch.save are read with
    `weights_only`, which creates only tensors and plain containers and runs no code. Raises UserError if there is no
    such checkpoint, FaultyInput naming missing and unexpected keys and wrong shapes if it does not fit.
    """
    path = Path(source)
    if (path / CARD_FILE).is_file():
        card = read_card(path)
        if card.network != network:
            raise UserError(
                f"{path}: holds a {card.network}, expected a {network}. Specify that network, or other weights."
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
            f"{source}: found weight files: {names}; expected one ({', '.join(SUFFIXES)}). Specify the file itself."
        )
    return found[0]


def _download(source: str) -> Path:
    """Folder of a model from the Hugging Face hub, from the local cache if it is there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(source, allow_patterns=[f"*{suffix}" for suffix in SUFFIXES]))
    except (HFValidationError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"speaker embedding {source}: neither a file, a folder nor an available hub model ({reason}). "
            "Specify the path of the checkpoint."
        ) from None


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: not readable as weights ({reason}). Expected safetensors, or tensors saved by torch.save; "
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
    wrong_shapes = [
        f"{name}: shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    faults = [
        *_listed("missing", [name for name in expected if name not in found]),
        *_listed("unexpected", [name for name in found if name not in expected]),
        *_listed("of the wrong shape", wrong_shapes),
    ]
    if faults:
        raise FaultyInput(
            f"{path}: not a {network} of the configured size. Specify the right network, or its `size`.", faults
        )


def _listed(kind: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return [f"{len(names)} {kind}: {', '.join(names[:MAX_LISTED])}{more}"]
