from __future__ import annotations

import pytest
import torch

from mlcslm.model.projector import Projector, audio_token_count, encoder_frame_count, mel_frame_count


def test_parameters_at_the_papers_size() -> None:
    with torch.device("meta"):
        projector = Projector(1280, 3584)
    assert sum(parameter.numel() for parameter in projector.parameters()) == 18_160_384


@pytest.mark.parametrize(
    ("seconds", "mel_frames", "encoder_frames", "tokens"),
    [(3.9, 390, 195, 39), (30, 3000, 1500, 300), (0.1, 10, 5, 1), (0.11, 11, 6, 2), (0.001, 1, 1, 1), (0, 1, 1, 1)],
)
def test_counts(seconds: float, mel_frames: int, encoder_frames: int, tokens: int) -> None:
    samples = round(seconds * 16_000)
    assert mel_frame_count(samples) == mel_frames
    assert encoder_frame_count(mel_frames) == encoder_frames
    assert audio_token_count(samples) == tokens


def test_tokens_equal_the_layers_applied_by_hand() -> None:
    torch.manual_seed(0)
    projector = Projector(6, 8, hidden=10)
    frames = torch.randn(1, 10, 6)
    tokens, mask = projector(frames, torch.ones(1, 10, dtype=torch.bool))
    windows = frames.view(2, 5, 6).transpose(1, 2)  # window, width, time
    by_hand = torch.einsum("wit,oit->wo", windows, projector.conv1d.weight) + projector.conv1d.bias
    by_hand = by_hand.relu() @ projector.linear1.weight.T + projector.linear1.bias
    by_hand = by_hand.relu() @ projector.linear2.weight.T + projector.linear2.bias
    assert mask.all()
    torch.testing.assert_close(tokens[0], by_hand)


@pytest.mark.parametrize("length", [1, 4, 5, 6, 23])
def test_padding_does_not_leak(length: int) -> None:
    torch.manual_seed(0)
    projector = Projector(6, 8, hidden=10)
    frames = torch.randn(2, 23, 6)
    mask = torch.arange(23) < torch.tensor([[length], [23]])
    alone, alone_mask = projector(frames[:1, :length], mask[:1, :length])
    together, together_mask = projector(frames, mask)
    assert together_mask[0].sum() == alone_mask.sum() == -(-length // 5)
    torch.testing.assert_close(together[:1][:, : alone.shape[1]], alone)
