"""Speaker embeddings of waveforms, and of the windows of a session in one pass over its audio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mlcslm.corpus.audio import Audio
from mlcslm.speaker_embedding.base import SpeakerNetwork
from mlcslm.speaker_embedding.checkpoint import load_network
from mlcslm.speaker_embedding.fbank import (
    DEFAULT_SETTINGS,
    FbankSettings,
    Features,
    fbank,
    frame_count,
    frames_of_window,
)
from mlcslm.speaker_embedding.networks import FBANK

MIN_FRAMES = frame_count(24_000)
"""Frames of 1.5 s, the diarization window: shorter input is repeated up to it, as in 3D-Speaker."""

CPU_ROWS = 32
"""Rows in every call of the network on a CPU with windows of that length; longer ones run one by one. CPU kernels round
differently for different numbers of rows; a fixed number makes an embedding bit-identical whatever else is in the
batch. More rows are no faster."""

Embeddings = npt.NDArray[np.float32]


class SpeakerEmbedder:
    """Maps 16 kHz speech to vectors whose cosine tells how similar two voices are.

    network: as returned by `build_network`; settings: the features it was trained on. Batch sizes apply on a GPU only:
    a CPU uses its own (`CPU_ROWS`).
    """

    def __init__(
        self,
        network: SpeakerNetwork,
        device: str | torch.device = "cpu",
        settings: FbankSettings = DEFAULT_SETTINGS,
    ) -> None:
        # On a CPU, convolutions over (channels, frequency, time) are a third faster with channels innermost.
        self.network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload] # lacks it
        self.device = torch.device(device)
        self.settings = settings

    @property
    def dimension(self) -> int:
        """Size of an embedding."""
        return self.network.embedding_size

    def embed(self, waveforms: Sequence[Audio], batch_size: int = 64) -> Embeddings:
        """Return (N, dim) float32: an embedding for each of N waveforms (samples,) of any lengths."""
        features = [fbank(waveform, self.settings) for waveform in waveforms]
        return self._embed([(frames, 0, len(frames)) for frames in features], batch_size)

    def embed_windows(self, audio: Audio, windows: Sequence[tuple[float, float]], batch_size: int = 64) -> Embeddings:
        """Return (N, dim) float32 for N windows (start, end in seconds) of a session's `audio` (samples,).

        The session's features are computed once and sliced into windows, each mean-normalised. The result equals
        `embed` of the window's samples if it starts at a multiple of 10 ms, else of a window shifted by at most 5 ms.
        """
        if not windows:
            return np.zeros((0, self.dimension), np.float32)
        features = fbank(audio, self.settings)
        return self._embed(
            [(features, *frames_of_window(start, end, len(features))) for start, end in windows], batch_size
        )

    @torch.inference_mode()
    def _embed(self, segments: Sequence[tuple[Features, int, int]], batch_size: int) -> Embeddings:
        """Segments are (features, first frame, end frame). Only equal lengths share a batch, so none is padded."""
        embeddings = np.zeros((len(segments), self.dimension), np.float32)
        on_cpu = self.device.type == "cpu"
        by_length: dict[int, list[int]] = {}
        for number, (_, first, end) in enumerate(segments):
            by_length.setdefault(max(end - first, MIN_FRAMES), []).append(number)
        for length, members in by_length.items():
            rows = batch_size if not on_cpu else CPU_ROWS if length == MIN_FRAMES else 1
            for at in range(0, len(members), rows):
                batch = members[at : at + rows]
                features = np.stack([_slice(*segments[number], length) for number in batch])
                if on_cpu:
                    features = features[np.arange(rows) % len(batch)]
                output = self.network(torch.from_numpy(features).to(self.device))
                embeddings[batch] = output[: len(batch)].float().cpu().numpy()
        return embeddings


def load_embedder(
    source: str | os.PathLike[str],
    network: str,
    *,
    device: str | torch.device | None = None,
    **size: int | Sequence[int],
) -> SpeakerEmbedder:
    """The embedder with the weights of `source`, as `load_network` loads them; device None: a GPU if there is one."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    source = source if isinstance(source, str) else Path(source)
    return SpeakerEmbedder(load_network(source, network, size), device, FBANK[network])


def normalise(features: Features) -> Features:
    """Features (..., T, F) minus their mean over frames."""
    return features - features.mean(axis=-2, keepdims=True)


def _slice(features: Features, first: int, end: int, length: int) -> Features:
    """Frames `first` to `end` as mean-normalised (length, F), repeated if they are fewer."""
    return normalise(features[first + np.arange(length) % (end - first)])
