"""The network of pyannote/segmentation-3.0 in plain torch: SincNet, LSTM, and classes that are sets of speakers.

Sources: Ravanelli and Bengio 2018 (SincNet, arXiv:1808.00158); Plaquet and Bredin 2023 (powerset classes,
arXiv:2310.13025). Parameter names are those of the public checkpoint (MIT), which loads strictly.
"""

from __future__ import annotations

import itertools
import math
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import leaky_relu

from mlcslm.config.diarization import SEGMENTATION_MODEL
from mlcslm.corpus.audio import SAMPLE_RATE
from mlcslm.errors import FaultyInput, UserError

LOCAL_SPEAKERS = 3
CLASSES = tuple(speakers for size in range(3) for speakers in itertools.combinations(range(LOCAL_SPEAKERS), size))
"""Sets of speakers, at most two at once: the network's answer for a frame is one of them."""
STEP_SAMPLES = 270
"""Samples from one frame to the next: a stride of 10, pooled by 3 three times."""
FIELD_SAMPLES = 991
"""Samples that a frame is of."""
_NAMES = ("pytorch_model.bin", "model.safetensors")
_LISTED = 8


class SincFilters(nn.Module):
    """Band-pass filters, each of two frequencies alone: a cosine and a sine one for each of `filters / 2` bands."""

    LOWEST_HZ = NARROWEST_HZ = 50.0

    window_: torch.Tensor
    n_: torch.Tensor

    def __init__(self, filters: int = 80, width: int = 251) -> None:
        super().__init__()
        half = width // 2
        self.low_hz_ = nn.Parameter(torch.zeros(filters // 2, 1))
        self.band_hz_ = nn.Parameter(torch.zeros(filters // 2, 1))
        self.register_buffer("window_", torch.hamming_window(width, periodic=False)[:half])
        self.register_buffer("n_", 2 * math.pi * torch.arange(-half, 0)[None] / SAMPLE_RATE)

    def forward(self) -> torch.Tensor:
        """(filters, 1, width): the difference of two low-pass filters, scaled to 1 in its middle."""
        low = self.LOWEST_HZ + self.low_hz_.abs()
        high = (low + self.NARROWEST_HZ + self.band_hz_.abs()).clamp(self.LOWEST_HZ, SAMPLE_RATE / 2)
        band = high - low
        taper = self.window_ / (self.n_ / 2) / (2 * band)
        even = ((high @ self.n_).sin() - (low @ self.n_).sin()) * taper
        odd = ((low @ self.n_).cos() - (high @ self.n_).cos()) * taper
        cosine = torch.cat([even, torch.ones_like(band), even.flip(1)], dim=1)
        sine = torch.cat([odd, torch.zeros_like(band), -odd.flip(1)], dim=1)
        return torch.cat([cosine, sine])[:, None]


class _SincConvolution(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.filterbank = SincFilters()

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv1d(waveforms, self.filterbank(), stride=10).abs()


class SincNet(nn.Module):
    """Features of a waveform: (B, 1, samples) -> (B, 60, frames)."""

    def __init__(self) -> None:
        super().__init__()
        self.wav_norm1d = nn.InstanceNorm1d(1, affine=True)
        self.conv1d = nn.ModuleList([_SincConvolution(), nn.Conv1d(80, 60, 5), nn.Conv1d(60, 60, 5)])
        self.norm1d = nn.ModuleList([nn.InstanceNorm1d(size, affine=True) for size in (80, 60, 60)])

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Each layer's outputs are pooled by 3."""
        hidden = self.wav_norm1d(waveforms)
        for convolution, norm in zip(self.conv1d, self.norm1d, strict=True):
            hidden = leaky_relu(norm(nn.functional.max_pool1d(convolution(hidden), 3)))
        return hidden


class SegmentationNetwork(nn.Module):
    """Who of up to three people of a stretch of 10 s speaks in each frame; numbers are the stretch's own."""

    def __init__(self) -> None:
        super().__init__()
        self.sincnet = SincNet()
        self.lstm = nn.LSTM(60, 128, num_layers=4, bidirectional=True, batch_first=True)
        self.linear = nn.ModuleList([nn.Linear(256, 128), nn.Linear(128, 128)])
        self.classifier = nn.Linear(128, len(CLASSES))

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """(B, samples) at 16 kHz -> (B, frames, 7): probability of each of `CLASSES`."""
        hidden = self.lstm(self.sincnet(waveforms[:, None]).transpose(1, 2))[0]
        for layer in self.linear:
            hidden = leaky_relu(layer(hidden))
        return self.classifier(hidden).softmax(dim=-1)


class _Inert:
    """Stands for the classes that the public file names besides its tensors: none of them is imported or run."""

    def __new__(cls, *_: Any) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None: ...

    def __hash__(self) -> int:
        return id(self)


_NAMED = tuple(f"pyannote.audio.core.task.{name}" for name in ("Specifications", "Problem", "Resolution"))


def load_segmentation(source: str | os.PathLike[str] | None = None) -> SegmentationNetwork:
    """The network with the weights of `source`: a folder, a file, or a hub id; None: `SEGMENTATION_MODEL`.

    Files of torch.save are read with `weights_only`: tensors and plain containers, and an inert object for each of the
    three classes that the public file names. Raises UserError where there is no such checkpoint, FaultyInput where its
    parameters are others.
    """
    path = _find(str(source) if source is not None else SEGMENTATION_MODEL)
    weights = _read(path)
    network = SegmentationNetwork()
    expected = network.state_dict()
    faults = [f"{path}: lacks {name}" for name in expected if name not in weights]
    faults += [f"{path}: has {name}, which the network lacks" for name in weights if name not in expected]
    faults += [
        f"{path}: {name} is {tuple(weights[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in weights and weights[name].shape != tensor.shape
    ]
    if faults:
        more = [f"… and {len(faults) - _LISTED} more"] if len(faults) > _LISTED else []
        raise FaultyInput(f"{path}: is no checkpoint of {SEGMENTATION_MODEL}:", faults[:_LISTED] + more)
    network.load_state_dict(weights, strict=True)
    return network.eval()


def _find(source: str) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    folder = path if path.is_dir() else _download(source)
    found = [folder / name for name in _NAMES if (folder / name).is_file()]
    if not found:
        raise UserError(f"vad_model {source}: found no {' or '.join(_NAMES)} in it. Expected {SEGMENTATION_MODEL}'s.")
    return found[0]


def _download(source: str) -> Path:
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise UserError(
            f"vad_model {source}: no such file or folder. Expected one of {SEGMENTATION_MODEL}, or its hub id."
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, allow_patterns=list(_NAMES)))
    except Exception as error:  # the hub's client raises whatever its transport does
        raise UserError(
            f"vad_model {source}: cannot be downloaded ({type(error).__name__}). Give a folder with "
            f"{' or '.join(_NAMES)} as vad_model, or set vad: silero."
        ) from None


def _read(path: Path) -> Mapping[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        allowed: list[Any] = [(_Inert, name) for name in _NAMED]
        with torch.serialization.safe_globals([*allowed, torch.torch_version.TorchVersion]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: cannot be read as weights ({reason}). Copy {SEGMENTATION_MODEL}'s file again."
        ) from None
    weights = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if weights is None or not all(isinstance(one, torch.Tensor) for one in weights.values()):
        raise UserError(f"{path}: holds no parameters of a network. Expected {SEGMENTATION_MODEL}'s.")
    return weights
