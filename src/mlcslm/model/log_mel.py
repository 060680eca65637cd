"""Whisper's log-mel features of the true length of each utterance.

Shapes: B utterances, M mel bins, F mel frames (100 per second).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
from transformers import WhisperFeatureExtractor

from mlcslm.errors import UserError
from mlcslm.model.projector import HOP_LENGTH, SAMPLE_RATE, audio_token_count, mel_frame_count

EncoderWindow = Literal["true_length", "full"]


class LogMel:
    """Computes an encoder's input features; `feature_extractor` holds the settings (mel bins, filters).

    encoder_window: "true_length", or "full" for Whisper's 30 s whatever the length (as in WeST); max_mel_frames: the
    encoder's window; longer audio is truncated, as in Whisper.
    """

    def __init__(
        self,
        feature_extractor: WhisperFeatureExtractor,
        *,
        encoder_window: EncoderWindow = "true_length",
        max_mel_frames: int = 3000,
    ) -> None:
        if encoder_window not in get_args(EncoderWindow):
            raise UserError(
                f"encoder window: found {encoder_window!r}, expected one of: {', '.join(get_args(EncoderWindow))}."
            )
        if (feature_extractor.sampling_rate, feature_extractor.hop_length) != (SAMPLE_RATE, HOP_LENGTH):
            raise UserError(
                f"encoder's feature extractor: found {feature_extractor.sampling_rate} Hz and "
                f"{feature_extractor.hop_length} samples per frame, expected Whisper's {SAMPLE_RATE} and {HOP_LENGTH}."
            )
        self.feature_extractor = feature_extractor
        self.encoder_window = encoder_window
        self.max_samples = max_mel_frames * HOP_LENGTH
        self._window = torch.hann_window(feature_extractor.n_fft)
        self._filters = torch.from_numpy(feature_extractor.mel_filters).T.to(torch.float32)

    def mel_frame_count(self, samples: int) -> int:
        """Number of mel frames that the encoder reads for an utterance of `samples` (at 16 kHz)."""
        return mel_frame_count(self.max_samples if self.encoder_window == "full" else min(samples, self.max_samples))

    def audio_token_count(self, samples: int) -> int:
        """Number of audio tokens that an utterance of `samples` (at 16 kHz) costs: 39 for 3.9 s, 300 if "full"."""
        return audio_token_count(self.mel_frame_count(samples) * HOP_LENGTH)

    def __call__(self, audio: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel features (B, M, F), zero in the padding, and their mask (B, F), of mono float audio at 16 kHz.

        Each utterance's values equal transformers' WhisperFeatureExtractor's and do not depend on the batch.
        """
        return pad_features([self._of(samples) for samples in audio])

    def _of(self, audio: np.ndarray) -> torch.Tensor:
        samples = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))[: self.max_samples]
        frames = self.mel_frame_count(len(samples))
        # One window of zeros stands for the silence that Whisper pads with; more of it would change no true frame.
        padded = min(frames * HOP_LENGTH + self.feature_extractor.n_fft, self.max_samples)
        samples = torch.nn.functional.pad(samples, (0, max(0, padded - len(samples))))
        spectrum = torch.stft(
            samples, self.feature_extractor.n_fft, HOP_LENGTH, window=self._window, return_complex=True
        )
        power = (spectrum[:, :frames].abs() ** 2).contiguous()
        log_mel = torch.clamp(self._filters @ power, min=1e-10).log10()
        return (torch.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0


def pad_features(features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack of (M, F_i) features padded with zeros to (B, M, F), and its mask (B, F)."""
    longest = max(feature.shape[1] for feature in features)
    batch = features[0].new_zeros(len(features), features[0].shape[0], longest)
    mask = torch.zeros(len(features), longest, dtype=torch.bool)
    for row, feature in enumerate(features):
        batch[row, :, : feature.shape[1]] = feature
        mask[row, : feature.shape[1]] = True
    return batch, mask
