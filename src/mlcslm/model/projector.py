"""From the encoder's 50 frames per second to the language model's 10 audio tokens per second.

Shapes: B utterances, T encoder frames, N audio tokens, d encoder width, h language model width.
"""

from __future__ import annotations

import torch
from torch import nn

SAMPLE_RATE = 16_000
HOP_LENGTH = 160
"""Samples between two mel frames, as in Whisper: 100 frames per second."""
MEL_FRAMES_PER_ENCODER_FRAME = 2
ENCODER_FRAMES_PER_TOKEN = 5


def mel_frame_count(samples: int) -> int:
    """Number of mel frames of `samples` at 16 kHz, as in Whisper (a remainder below 10 ms is dropped), at least 1."""
    return max(1, samples // HOP_LENGTH)


def encoder_frame_count(mel_frames: int) -> int:
    """Number of encoder frames of `mel_frames`: the encoder's second convolution has stride 2 and padding 1."""
    return -(-mel_frames // MEL_FRAMES_PER_ENCODER_FRAME)


def audio_token_count(samples: int) -> int:
    """Number of audio tokens of `samples` at 16 kHz: one per started 100 ms.

    Rounding up loses no speech, and gives even the shortest audio a token.

    >>> audio_token_count(62_400), audio_token_count(30 * 16_000), audio_token_count(1)
    (39, 300, 1)
    """
    return -(-encoder_frame_count(mel_frame_count(samples)) // ENCODER_FRAMES_PER_TOKEN)


class Projector(nn.Module):
    """WeST's projector: Conv1d(d, d) -> ReLU -> Linear(d, hidden) -> ReLU -> Linear(hidden, h).

    18,160,384 parameters for d = 1280 and h = 3584, the paper's "17.32M" (divided by 1024 twice). Parameter names are
    those of WeST's `ProjectorCov1d` (https://github.com/wenet-e2e/west).
    """

    def __init__(
        self,
        encoder_width: int,
        lm_width: int,
        hidden: int = 2048,
        kernel: int = ENCODER_FRAMES_PER_TOKEN,
        stride: int = ENCODER_FRAMES_PER_TOKEN,
    ) -> None:
        super().__init__()
        self.conv1d = nn.Conv1d(encoder_width, encoder_width, kernel, stride)
        self.linear1 = nn.Linear(encoder_width, hidden)
        self.linear2 = nn.Linear(hidden, lm_width)

    def forward(self, frames_BTd: torch.Tensor, mask_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Audio tokens (B, N, h) and their mask (B, N), from encoder frames and their mask.

        Frames outside the mask count as zeros, so that an utterance's tokens do not depend on its batch.
        """
        (kernel,), (stride,) = self.conv1d.kernel_size, self.conv1d.stride
        frames_BTd = frames_BTd.to(self.conv1d.weight.dtype) * mask_BT.unsqueeze(-1)
        mask_BN = mask_BT[:, ::stride]
        missing = max(0, (mask_BN.shape[1] - 1) * stride + kernel - frames_BTd.shape[1])
        frames_BTd = nn.functional.pad(frames_BTd, (0, 0, 0, missing))
        hidden = torch.relu(self.conv1d(frames_BTd.transpose(1, 2))).transpose(1, 2)
        return self.linear2(torch.relu(self.linear1(hidden))), mask_BN
