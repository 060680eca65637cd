from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from mlcslm.errors import UserError
from mlcslm.model.log_mel import LogMel


@pytest.fixture
def log_mel() -> LogMel:
    return LogMel(WhisperFeatureExtractor(feature_size=80))


def test_log_mel_equals_whispers_on_the_true_frames(log_mel, audio) -> None:
    features, mask = log_mel(audio)
    reference = WhisperFeatureExtractor(feature_size=80)(audio, sampling_rate=16_000, return_tensors="pt")
    for row, samples in enumerate(audio):
        frames = len(samples) // 160
        assert mask[row].sum() == frames
        assert not features[row, :, frames:].any()
        torch.testing.assert_close(
            features[row, :, :frames], reference["input_features"][row, :, :frames], atol=1e-5, rtol=1e-5
        )


def test_log_mel_does_not_depend_on_the_batch(log_mel, audio) -> None:
    features, mask = log_mel(audio)
    for row, samples in enumerate(audio):
        alone, _ = log_mel([samples])
        assert torch.equal(alone[0], features[row][:, mask[row]])


def test_a_full_window_equals_whispers(log_mel, audio) -> None:
    full = LogMel(WhisperFeatureExtractor(feature_size=80), encoder_window="full")
    features, mask = full([*audio, np.ones(31 * 16_000, dtype=np.float32)])
    reference = WhisperFeatureExtractor(feature_size=80)(
        [*audio, np.ones(30 * 16_000, dtype=np.float32)], sampling_rate=16_000, return_tensors="pt"
    )
    assert mask.all()
    torch.testing.assert_close(features, reference["input_features"], atol=1e-5, rtol=1e-5)
    assert full.audio_token_count(62_400) == 300


@pytest.mark.parametrize("samples", [0, 1, 159, 200, 401])
def test_the_shortest_audio_still_gives_a_token(log_mel, samples: int) -> None:
    features, mask = log_mel([np.zeros(samples, dtype=np.float32)])
    assert features.shape[2] == mask.sum() >= 1
    assert torch.isfinite(features).all()
    assert log_mel.audio_token_count(samples) == 1


def test_audio_tokens_are_those_of_the_true_length(log_mel) -> None:
    assert log_mel.audio_token_count(62_400) == 39
    assert log_mel.audio_token_count(40 * 16_000) == 300  # truncated to the window, as in Whisper


def test_unusable_settings_are_named() -> None:
    with pytest.raises(UserError, match="found '30s', expected one of: true_length, full"):
        LogMel(WhisperFeatureExtractor(), encoder_window="30s")
    with pytest.raises(UserError, match="found 8000 Hz and 160 samples per frame, expected Whisper's 16000 and 160"):
        LogMel(WhisperFeatureExtractor(sampling_rate=8000))
