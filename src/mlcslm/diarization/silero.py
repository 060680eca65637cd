"""Silero VAD: its network in plain torch with the weights of the `silero-vad` package, and the speech it detects.

The package's own model takes one 32 ms frame per call. Here the convolutions run over all frames at once and the LSTM
over their sequence, which gives the same probabilities up to float32 rounding. The package is never imported (that
would limit the process to one thread); only its TorchScript file is read, for the weights: the safetensors beside it
are an older generation.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.errors import UserError
from mlcslm.formats.segments import Segment

FRAME = 512  # samples per probability: 32 ms
CONTEXT = 64  # preceding samples that the network sees with a frame
FRAME_MS = 1000 * FRAME // SAMPLE_RATE
_BLOCK = 8192  # frames convolved at once: 20 MB of audio
_MODEL = "data/silero_vad.jit"
# The parameters' names in the package's 16 kHz model.
_PARTS = {
    "stft_conv.weight": "stft.forward_basis_buffer",
    **{f"conv{n + 1}.{kind}": f"encoder.{n}.reparam_conv.{kind}" for n in range(4) for kind in ("weight", "bias")},
    **{f"lstm.{kind}_l0": f"decoder.rnn.{kind}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
    **{f"final_conv.{kind}": f"decoder.decoder.2.{kind}" for kind in ("weight", "bias")},
}

# The package's defaults.
_ON, _OFF = 0.5, 0.35
_PAUSE_MS, _SPEECH_MS, _PAD_MS = 100, 250, 30


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
        hidden = torch.hypot(spectrum[:, :129], spectrum[:, 129:])
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4):
            hidden = convolution(hidden).relu()
        return hidden.squeeze(-1)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(samples,) at 16 kHz -> (frames,) probabilities; the last frame is zero-padded."""
        frames = -(-len(waveform) // FRAME)
        padded = nn.functional.pad(waveform, (CONTEXT, frames * FRAME - len(waveform)))
        windows = padded.unfold(0, CONTEXT + FRAME, FRAME)
        encoded = torch.cat([self.encode(windows[start : start + _BLOCK]) for start in range(0, frames, _BLOCK)])
        hidden = self.lstm(encoded[None])[0][0]
        return self.final_conv(hidden.relu().T).sigmoid()[0]


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

    def __init__(self, max_segment_s: float) -> None:
        self.max_segment_s = max_segment_s
        self._network = load_silero()

    def __call__(self, waveform: Audio) -> list[Segment]:
        """Speech of a (samples,) float32 waveform at 16 kHz: disjoint segments in order, in whole milliseconds."""
        if not len(waveform):
            return []
        with torch.inference_mode():
            probabilities = self._network(torch.from_numpy(waveform)).numpy()
        return speech_segments(probabilities, 1000 * len(waveform) // SAMPLE_RATE, self.max_segment_s)


def speech_segments(
    probabilities: npt.NDArray[np.float32], duration_ms: int, max_segment_s: float = float("inf")
) -> list[Segment]:
    """Segments of a session of `duration_ms` whose 32 ms frames contain speech with `probabilities`.

    Speech begins at a probability of 0.5 and ends where it drops below 0.35, if it is also below 0.35 at least 100 ms
    later, without reaching 0.5 in between. Segments of 250 ms or less are dropped; the rest are extended by 30 ms
    on either side, where there is space. Those longer than `max_segment_s` are split where speech is least probable,
    into pieces that touch.

    >>> import numpy as np
    >>> speech_segments(np.float32([0] * 10 + [0.9] * 50 + [0] * 10), 70 * 32)
    [Segment(start=0.29, end=1.95, speaker='')]
    """
    runs = [(first * FRAME_MS, min(last * FRAME_MS, duration_ms)) for first, last in _speech_runs(probabilities)]
    runs = [(start, end) for start, end in runs if end - start > _SPEECH_MS]
    padded: list[tuple[int, int]] = []
    for number, (start, end) in enumerate(runs):
        before = runs[number - 1][1] if number else -start
        after = runs[number + 1][0] if number + 1 < len(runs) else 2 * duration_ms - end
        padded.append((start - min(_PAD_MS, (start - before) // 2), end + min(_PAD_MS, (after - end) // 2)))
    pieces = [
        piece for start, end in padded for piece in _pieces(probabilities, start, min(end, duration_ms), max_segment_s)
    ]
    return [Segment(start / 1000, end / 1000) for start, end in pieces]


def _speech_runs(probabilities: npt.NDArray[np.float32]) -> list[tuple[int, int]]:
    """First frame of each stretch of speech, and of the pause that ends it."""
    runs: list[tuple[int, int]] = []
    first = pause = None
    for frame, probability in enumerate(probabilities.tolist()):
        if probability >= _ON:
            first, pause = frame if first is None else first, None
        elif probability < _OFF and first is not None:
            pause = frame if pause is None else pause
            if (frame - pause) * FRAME_MS >= _PAUSE_MS:
                runs.append((first, pause))
                first = pause = None
    return runs if first is None else [*runs, (first, len(probabilities))]


def _pieces(
    probabilities: npt.NDArray[np.float32], start: int, end: int, max_segment_s: float
) -> list[tuple[int, int]]:
    """`start` to `end` (ms) in pieces of at most `max_segment_s`, split where speech is least probable.

    Each split is in the second half of the allowed length, so that pieces are not needlessly short, and leaves at least
    a quarter of it.
    """
    pieces = []
    while end - start > 1000 * max_segment_s:
        limit = int(1000 * max_segment_s)
        first = (start + limit // 2) // FRAME_MS + 1
        last = min(start + limit, end - limit // 4) // FRAME_MS
        candidates = probabilities[first:last]
        # The last of equally probable frames, for fewer pieces. The split is in the frame's middle.
        frame = last - 1 - int(np.argmin(candidates[::-1]))
        split = frame * FRAME_MS + FRAME_MS // 2
        pieces.append((start, split))
        start = split
    return [*pieces, (start, end)]
