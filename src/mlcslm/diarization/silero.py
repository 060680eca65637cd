"""Silero VAD: its network in plain torch with the weights of the `silero-vad` package, and the speech it detects.

The package's own model takes one 32 ms frame per call. Here the convolutions run over all frames at once and the LSTM
over their sequence, which gives the same probabilities up to float32 rounding. The package is never imported (that
would limit the process to one thread); only its TorchScript file is read, for the weights: the safetensors beside it
are an older generation.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn

from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.diarization.speech import SpeechSettings, speech_segments
from mlcslm.errors import UserError
from mlcslm.formats.segments import Segment

FRAME = 512  # samples per probability: 32 ms
CONTEXT = 64  # preceding samples that the network sees with a frame
FRAME_MS = 1000 * FRAME // SAMPLE_RATE
_BLOCK = 512  # frames at once: 16 s of audio, whose activations stay in the cache
_MODEL = "data/silero_vad.jit"
# The parameters' names in the package's 16 kHz model.
_PARTS = {
    "stft_conv.weight": "stft.forward_basis_buffer",
    **{f"conv{n + 1}.{kind}": f"encoder.{n}.reparam_conv.{kind}" for n in range(4) for kind in ("weight", "bias")},
    **{f"lstm.{kind}_l0": f"decoder.rnn.{kind}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    **{f"final_conv.{kind}": f"decoder.decoder.2.{kind}" for kind in ("weight", "bias")},
}
PACKAGE_SETTINGS = SpeechSettings(onset=0.5, offset=0.35, min_pause_s=0.1, min_speech_s=0.25, padding_s=0.03)
"""The package's defaults. On conversations they miss a fifth of the speech (docs/diarization.md)."""


class SileroNetwork(nn.Module):
    """Speech probability of each frame, from a short-time Fourier transform, four convolutions and an LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.conv1 = nn.Conv1d(129, 128, 3, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, stride=2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, stride=2, padding=1)
        self.conv4 = nn.Conv1d(64, 128, 3, padding=1)
        self.lstm = nn.LSTM(128, 128, batch_first=True)
        self.final_conv = nn.Conv1d(128, 1, 1)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """(frames, CONTEXT + FRAME) samples -> (frames, 128), each frame on its own."""
        spectrum = self.stft_conv(nn.functional.pad(frames[:, None], (0, CONTEXT), mode="reflect"))
        hidden = torch.addcmul(spectrum[:, :129].square(), spectrum[:, 129:], spectrum[:, 129:]).sqrt_()
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            hidden = convolution(hidden).relu()
        return hidden.squeeze(-1)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(samples,) at 16 kHz -> (frames,) probabilities; the last frame is zero-padded."""
        frames = -(-len(waveform) // FRAME)
        probabilities, state = [], None
        # In blocks, so that memory does not grow with the session.
        for first in range(0, frames, _BLOCK):
            end = min(first + _BLOCK, frames)
            samples = waveform[max(0, first * FRAME - CONTEXT) : end * FRAME]
            padding = (0 if first else CONTEXT, max(0, end * FRAME - len(waveform)))
            windows = nn.functional.pad(samples, padding).unfold(0, CONTEXT + FRAME, FRAME)
            hidden, state = self.lstm(self.encode(windows)[None], state)
            probabilities.append(self.final_conv(hidden[0].relu().T).sigmoid()[0])
        return torch.cat(probabilities)


def load_silero() -> SileroNetwork:
    """The network with the weights of the installed `silero-vad` package; raises UserError if it is missing."""
    package = importlib.util.find_spec("silero_vad")
    path = Path(package.origin).parent / _MODEL if package and package.origin else None
    if path is None or not path.is_file():
        raise UserError(f"vad silero: no package silero-vad with {_MODEL}. Run: pip install 'silero-vad>=6.2.3,<7'")
    weights = torch.jit.load(path, map_location="cpu")._model.state_dict()
    network = SileroNetwork().eval()
    try:
        network.load_state_dict({name: weights[theirs] for name, theirs in _PARTS.items()})
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"{path}: not the network of silero-vad 6.2 ({error}). Run: pip install 'silero-vad>=6.2.3,<7'"
        ) from None
    return network


class SileroDetector:
    """Speech by Silero VAD, in segments of at most `max_segment_s` seconds."""

    def __init__(self, max_segment_s: float, settings: SpeechSettings) -> None:
        self.max_segment_s = max_segment_s
        self.settings = settings
        self._network = load_silero()

    def __call__(self, waveform: Audio) -> list[Segment]:
        """Speech of a (samples,) float32 waveform at 16 kHz: disjoint segments in order, in whole milliseconds."""
        if not len(waveform):
            return []
        with torch.inference_mode():
            probabilities = self._network(torch.from_numpy(waveform)).numpy()
        return speech_segments(
            probabilities,
            1000 * len(waveform) // SAMPLE_RATE,
            self.settings,
            frame_ms=FRAME_MS,
            max_segment_s=self.max_segment_s,
        )
