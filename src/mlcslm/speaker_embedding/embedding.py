"""Speaker embeddings of waveforms, and of the windows of a session in one pass over its audio."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mlcslm.corpus.audio import Audio
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

SHORTEST_FRAMES = frame_count(24_000)
"""Frames of 1.5 s, the window of the diarization: what is shorter is repeated up to it, as 3D-Speaker does."""

CPU_ROWS = 32
"""Rows of every call of the network on a CPU with windows of that length; longer ones are called one by one. Kernels
there round otherwise with other numbers of rows: so an embedding is the same to the last bit, whatever is embedded
beside it. More rows are no faster."""

Embeddings = npt.NDArray[np.float32]


class SpeakerEmbedder:
    """Maps stretches of 16 kHz speech to vectors whose cosine tells how alike two voices are.

    network: (B, T, 80) -> (B, dim), as of `build_network`; settings: the features it was trained on. A batch_size is of
    a GPU: a CPU takes its own (`CPU_ROWS`).
    """

    def __init__(
        self,
        network: nn.Module,
        device: str | torch.device = "cpu",
        settings: FbankSettings = DEFAULT_SETTINGS,
    ) -> None:
        # Convolutions over (channels, frequency, time) run a third faster on a CPU with the channels innermost.
        self.network = network.to(device, memory_format=torch.channels_last).eval()
        self.device = torch.device(device)
        self.settings = settings

    @property
    def dimension(self) -> int:
        """Numbers of an embedding."""
        return int(self.network.embedding_size)

    def embed(self, waveforms: Sequence[Audio], batch_size: int = 64) -> Embeddings:
        """Return (N, dim) float32: one embedding each of N waveforms (samples,), of any lengths."""
        features = [fbank(waveform, self.settings) for waveform in waveforms]
        return self._embed([(frames, 0, len(frames)) for frames in features], batch_size)

    def embed_windows(self, audio: Audio, windows: Sequence[tuple[float, float]], batch_size: int = 64) -> Embeddings:
        """Return (N, dim) float32 of N windows (start, end in seconds) of a session's `audio` (samples,).

        The session's features are computed once and the windows cut out of them, each then freed of its own mean: what
        `embed` gives for the window's samples where it starts at a multiple of 10 ms, else that of a window shifted by
        at most 5 ms.
        """
        if not windows:
            return np.zeros((0, self.dimension), np.float32)
        features = fbank(audio, self.settings)
        return self._embed(
            [(features, *frames_of_window(start, end, len(features))) for start, end in windows], batch_size
        )

    @torch.inference_mode()
    def _embed(self, stretches: Sequence[tuple[Features, int, int]], batch_size: int) -> Embeddings:
        """Stretches are (features, first frame, end frame). Only those of one length share a batch: none is padded."""
        embeddings = np.zeros((len(stretches), self.dimension), np.float32)
        on_cpu = self.device.type == "cpu"
        by_length: dict[int, list[int]] = {}
        for number, (_, first, end) in enumerate(stretches):
            by_length.setdefault(max(end - first, SHORTEST_FRAMES), []).append(number)
        for length, members in by_length.items():
            rows = batch_size if not on_cpu else CPU_ROWS if length == SHORTEST_FRAMES else 1
            for at in range(0, len(members), rows):
                batch = members[at : at + rows]
                features = np.stack([_cut(*stretches[number], length) for number in batch])
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
    """The embedder with the weights of `source`, as `load_network` reads them; device None: a GPU, if there is one."""
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    source = source if isinstance(source, str) else Path(source)
    return SpeakerEmbedder(load_network(source, network, size), device, FBANK[network])


def normalise(features: Features) -> Features:
    """Features (..., T, F) with the mean over their frames taken off."""
    return features - features.mean(axis=-2, keepdims=True)


def _cut(features: Features, first: int, end: int, length: int) -> Features:
    """(length, F), freed of their mean: frames `first` to `end`, again and again where they are fewer."""
    return normalise(features[first + np.arange(length) % (end - first)])
