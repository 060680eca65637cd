"""Whisper's encoder over the true length of each utterance, without the padding to 30 s.

Shapes: B utterances, M mel bins, F mel frames (100 per second), T encoder frames (50 per second), d encoder width.
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.whisper.modeling_whisper import WhisperEncoder

# A Whisper checkpoint names the encoder's weights `model.encoder.…`, a WhisperModel `encoder.…`, an encoder alone `…`.
ENCODER_WEIGHT_NAMES = {r"^(?:model\.)?encoder\.": ""}


class SpeechEncoder(WhisperEncoder):
    """A Whisper encoder that reads any length up to its window, and several lengths in one batch.

    Given a whole window (30 s) it computes what `transformers.WhisperEncoder` computes. Given less, it reads only the
    actual frames; padding within a batch does not leak: each convolution sees zeros after the last true frame, as its
    own padding would give, and attention is masked. LayerDrop is not supported (Whisper's checkpoints have none).
    """

    _keys_to_ignore_on_load_unexpected = [r"decoder\.", r"proj_out"]  # noqa: RUF012

    @property
    def max_mel_frames(self) -> int:
        """Longest input in mel frames: 3,000 (30 s) for all released checkpoints."""
        return self.max_source_positions * self.conv2.stride[0]

    def forward(self, input_features: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder frames (B, T, d), zero in the padding, and their mask (B, T), from log-mel (B, M, F) and mask (B, F).

        Raises ValueError if the input is longer than the encoder's window.
        """
        if input_features.shape[-1] > self.max_mel_frames:
            raise ValueError(f"{input_features.shape[-1]} mel frames; the encoder reads at most {self.max_mel_frames}")
        mask = mask.to(torch.bool)
        features = input_features.to(self.conv1.weight.dtype) * mask.unsqueeze(1)
        hidden = nn.functional.gelu(self.conv1(features)) * mask.unsqueeze(1)
        hidden = nn.functional.gelu(self.conv2(hidden)).transpose(1, 2)
        frame_mask = mask[:, :: self.conv2.stride[0]]
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        hidden = nn.functional.dropout(hidden, p=self.dropout, training=self.training)
        attention_mask = create_bidirectional_mask(self.config, inputs_embeds=hidden, attention_mask=frame_mask)
        for layer in self.layers:
            hidden = layer(hidden, attention_mask)
        return self.layer_norm(hidden) * frame_mask.unsqueeze(-1), frame_mask
