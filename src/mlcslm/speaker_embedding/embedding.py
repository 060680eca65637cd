"""Speaker embeddings of waveforms, and of the windows of a session in one pass over its audio."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.speaker_embedding.base import SpeakerNetwork
from mlcslm.speaker_embedding.checkpoint import load_network
from mlcslm.speaker_embedding.fbank import (
    DEFAULT_SETTINGS,
    FRAME_SAMPLES,
    FRAMES_PER_SECOND,
    FbankSettings,
    Features,
    fbank,
    frame_count,
    frames_of_window,
)
from mlcslm.speaker_embedding.networks import FBANK

MIN_FRAMES = frame_count(24_000)
"""Frames of 1.5 s, the diarization window: shorter input is repeated up to it, as in 3D-Speaker."""

Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Parts:
    """Stretches within windows: (P, dim) embeddings, and the (P,) middles in seconds of the session.

    first: (N + 1,) index of each window's first part, in order; the last one is P.
    """

    embeddings: Embeddings
    middles: npt.NDArray[np.float64]
    first: npt.NDArray[np.int64]


class SpeakerEmbedder:
    """Maps 16 kHz speech to vectors whose cosine tells how similar two voices are.

    network: as returned by `build_network`, with the weights that it keeps; settings: the features it was trained on.
    Batch sizes apply on a GPU only: a CPU takes windows of `MIN_FRAMES` in the network's own number (`cpu_rows`), and
    longer ones one by one.
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
        with torch.no_grad():
            self._run = self.network.on_cpu() if self.device.type == "cpu" else self.network

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

    def embed_parts(
        self,
        audio: Audio,
        windows: Sequence[tuple[float, float]],
        length_s: float,
        step_s: float,
        batch_size: int = 64,
    ) -> tuple[Embeddings, Parts]:
        """`embed_windows`, and embeddings of the stretches of `length_s` every `step_s` seconds within each window.

        The network runs once a window; what it hears frame by frame is pooled over the window, and over each stretch
        alone. Lengths and steps are whole frames of the network (20 or 80 ms). A window without room for two
        stretches is one.
        """
        if not windows:
            empty = np.zeros((0, self.dimension), np.float32)
            return empty, Parts(empty, np.zeros(0), np.zeros(1, np.int64))
        features = fbank(audio, self.settings)
        places = [frames_of_window(start, end, len(features)) for start, end in windows]
        parts: list[Embeddings] = [np.zeros((0, self.dimension), np.float32)] * len(windows)
        frame_s = self.network.stride / FRAMES_PER_SECOND
        length, step = max(2, round(length_s / frame_s)), max(1, round(step_s / frame_s))

        def pool_parts(frames: torch.Tensor, numbers: Sequence[int]) -> None:
            pooled = self._run.pooled_parts(frames, length, step).float().cpu().numpy()
            for row, number in enumerate(numbers):
                own = -(-(places[number][1] - places[number][0]) // self.network.stride)
                parts[number] = pooled[row, : max(0, (own - length) // step + 1)]

        embeddings = self._embed([(features, *place) for place in places], batch_size, pool_parts)
        middles = []
        for number, (start, end) in enumerate(windows):
            if len(parts[number]) < 2:
                parts[number] = embeddings[number : number + 1]
                middles.append(np.array([(start + end) / 2]))
            else:
                first = places[number][0] / FRAMES_PER_SECOND + FRAME_SAMPLES / SAMPLE_RATE / 2
                middles.append(first + frame_s * ((length - 1) / 2 + step * np.arange(len(parts[number]))))
        counts = [len(found) for found in parts]
        return embeddings, Parts(
            np.concatenate(parts), np.concatenate(middles), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        )

    @torch.inference_mode()
    def _embed(
        self,
        segments: Sequence[tuple[Features, int, int]],
        batch_size: int,
        heard: Callable[[torch.Tensor, Sequence[int]], None] | None = None,
    ) -> Embeddings:
        """Segments are (features, first frame, end frame). Only equal lengths share a batch, so none is padded.

        heard: called with what is pooled, and the numbers of the segments of its first rows.
        """
        embeddings = np.zeros((len(segments), self.dimension), np.float32)
        on_cpu = self.device.type == "cpu"
        by_length: dict[int, list[int]] = {}
        for number, (_, first, end) in enumerate(segments):
            by_length.setdefault(max(end - first, MIN_FRAMES), []).append(number)
        for length, members in by_length.items():
            rows = batch_size if not on_cpu else self._run.cpu_rows if length == MIN_FRAMES else 1
            for at in range(0, len(members), rows):
                batch = members[at : at + rows]
                features = np.stack([_slice(*segments[number], length) for number in batch])
                if on_cpu:
                    features = features[np.arange(rows) % len(batch)]
                frames = self._run.frames(torch.from_numpy(features).to(self.device))
                embeddings[batch] = self._run.pooled(frames)[: len(batch)].float().cpu().numpy()
                if heard:
                    heard(frames, batch)
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
