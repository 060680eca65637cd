from __future__ import annotations

import pytest
import torch
from transformers import WhisperModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from mlcslm.model.foundation import load_encoder


@pytest.fixture
def encoder(encoder_folder: str):
    return load_encoder(encoder_folder, dtype=torch.float32)[0].eval()


def test_a_full_window_gives_what_transformers_gives(encoder, encoder_folder: str) -> None:
    reference = WhisperModel.from_pretrained(encoder_folder).encoder.eval()
    features = torch.randn(2, 80, 3000)
    frames, mask = encoder(features, torch.ones(2, 3000, dtype=torch.bool))
    assert mask.shape == (2, 1500)
    assert mask.all()
    torch.testing.assert_close(frames, reference(features).last_hidden_state)


def test_a_true_length_equals_an_encoder_whose_window_is_that_long(encoder, make_encoder) -> None:
    """transformers' encoder with a 195-frame window, given the same weights and 390 mel frames."""
    config = encoder.config.__class__(**{**encoder.config.to_dict(), "max_source_positions": 195})
    reference = WhisperEncoder(config).eval()
    weights = encoder.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:195]
    reference.load_state_dict(weights)
    features = torch.randn(1, 80, 390)
    frames, _ = encoder(features, torch.ones(1, 390, dtype=torch.bool))
    torch.testing.assert_close(frames, reference(features).last_hidden_state)


@pytest.mark.parametrize("length", [1, 2, 99, 100, 249])
def test_padding_does_not_leak(encoder, length: int) -> None:
    features = torch.randn(2, 80, 250)
    mask = torch.arange(250) < torch.tensor([[length], [250]])
    alone, alone_mask = encoder(features[:1, :, :length], mask[:1, :length])
    together, together_mask = encoder(features, mask)
    assert alone_mask.sum() == together_mask[0].sum() == -(-length // 2)
    torch.testing.assert_close(together[:1, : alone.shape[1]], alone, atol=1e-5, rtol=1e-5)
    assert not together[0, alone.shape[1] :].any()


def test_longer_than_the_window_is_refused(encoder) -> None:
    with pytest.raises(ValueError, match="3001 mel frames; the encoder reads at most 3000"):
        encoder(torch.zeros(1, 80, 3001), torch.ones(1, 3001, dtype=torch.bool))


def test_128_mel_bins(make_encoder) -> None:
    encoder, extractor = load_encoder(make_encoder(mels=128), dtype=torch.float32)
    assert extractor.feature_size == encoder.config.num_mel_bins == 128
    assert encoder(torch.zeros(1, 128, 10), torch.ones(1, 10, dtype=torch.bool))[0].shape == (1, 5, 32)


def test_no_decoder_is_kept(encoder) -> None:
    assert not any("decoder" in name for name, _ in encoder.named_parameters())


@pytest.mark.parametrize("form", ["without head", "transformers encoder", "own encoder"])
def test_the_encoder_is_found_in_each_form_of_checkpoint(encoder, encoder_folder, tmp_path, form: str) -> None:
    model = WhisperModel.from_pretrained(encoder_folder)
    forms = {"without head": model, "transformers encoder": model.encoder, "own encoder": encoder}
    forms[form].save_pretrained(tmp_path)
    again, extractor = load_encoder(str(tmp_path), dtype=torch.float32)
    assert extractor.feature_size == 80
    for name, weight in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
