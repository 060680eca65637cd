"""What training does to audio beside noise: masks and speeds do what they are to, as often as they are to."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from mlcslm.config.schema import AugmentationConfig
from mlcslm.model.distortions import Distortions, Masks, augmentation_rng, make_distortions

FEATURES = torch.rand(80, 300, generator=torch.Generator().manual_seed(1)) + 1


def masked(masks: Masks, number: int, spoken: int = 300) -> torch.Tensor:
    """Which of the features a draw has changed; all of them to the mean, and the rest not at all."""
    before = FEATURES.clone()
    found = masks(FEATURES, spoken, augmentation_rng(1, number, "u"))
    assert torch.equal(FEATURES, before)
    changed = found != FEATURES
    torch.testing.assert_close(found[changed], FEATURES[:, :spoken].mean().expand(int(changed.sum())))
    return changed


def test_time_masks_are_whole_columns_of_uniform_width_and_place() -> None:
    columns = np.stack([masked(Masks(time=1, frames=50), number).numpy() for number in range(2000)])
    assert (columns.all(1) == columns.any(1)).all()
    of_time = columns.any(1)
    widths = of_time.sum(1)
    assert set(widths) == set(range(51))
    # Uniform over 0 to 50: the mean of 2,000 has a standard deviation of 0.33.
    assert widths.mean() == pytest.approx(25, abs=1.6)
    edges = np.diff(np.pad(of_time.astype(int), ((0, 0), (1, 1))), axis=1)
    assert ((edges == 1).sum(1) <= 1).all(), "one stretch"
    first, last = of_time[:, :150].sum(), of_time[:, 150:].sum()
    assert first == pytest.approx(last, rel=0.15)


def test_frequency_masks_are_bands_over_what_is_spoken() -> None:
    bands = np.stack([masked(Masks(bands=1, mels=15), number, spoken=200).numpy() for number in range(1000)])
    assert not bands[:, :, 200:].any()
    assert (bands[:, :, :200].all(2) == bands.any(2)).all()
    assert set(bands.any(2).sum(1)) == set(range(16))
    assert bands.any(2).any(0).all(), "any bin may be masked"


def test_several_masks_add_up_and_short_utterances_keep_their_share() -> None:
    several = np.stack([masked(Masks(time=3, frames=30, share=1.0), number).numpy() for number in range(300)])
    assert 60 < several.any(1).sum(1).max() <= 90
    short = np.stack([masked(Masks(time=1, frames=50, share=0.2), number, spoken=40).numpy() for number in range(300)])
    assert short.any(1).sum(1).max() == 8
    assert not short[:, :, 40:].any()


def test_without_masks_nothing_is_copied_or_drawn() -> None:
    assert Masks()(FEATURES, 300, np.random.default_rng(0)) is FEATURES
    audio = np.ones(100, np.float32)
    assert Distortions().audio(audio, 1, 0, "u", longest=100) is audio
    assert make_distortions(AugmentationConfig(), None) == Distortions()


def test_speeds_change_tempo_and_pitch_and_are_drawn_evenly() -> None:
    tone = np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000).astype(np.float32)
    drawn = Distortions(speeds=(0.9, 1.0, 1.1))
    counts: Counter[int] = Counter()
    for number in range(300):
        heard = drawn.audio(tone, 7, number, "u", longest=10**6)
        counts[len(heard)] += 1
        if number < 20:
            spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
            pitch = np.argmax(spectrum) * 16_000 / len(heard)
            assert pitch == pytest.approx(440 * 32_000 / len(heard), rel=0.01)
            assert np.array_equal(heard, drawn.audio(tone, 7, number, "u", longest=10**6))
    assert {round(32_000 / length, 2) for length in counts} == {0.9, 1.0, 1.1}
    # 300 throws of a fair die with three sides: five standard deviations are 41.
    assert min(counts.values()) > 59


def test_nothing_becomes_longer_than_the_window() -> None:
    audio = np.ones(1000, np.float32)
    for number in range(20):
        assert len(Distortions(speeds=(0.5,)).audio(audio, 1, number, "u", longest=1999)) == 1000
    assert len(Distortions(speeds=(0.5,)).audio(audio, 1, 0, "u", longest=2000)) == 2000
