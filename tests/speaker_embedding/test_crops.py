from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlcslm.corpus.augmentation import Augmenter, generate_noises
from mlcslm.errors import UserError
from mlcslm.speaker_embedding.crops import SpeakerCrops
from mlcslm.speaker_embedding.fbank import FbankSettings
from mlcslm.speaker_embedding.voices import ConversationVoices


def crops(manifest: Path, **changes: Any) -> SpeakerCrops:
    values = {"steps": 6, "batch_size": 6, "crop_s": 0.8, "speeds": (0.9, 1.1), "augmenter": None, "seed": 5}
    return SpeakerCrops(ConversationVoices(manifest), **{**values, "settings": FbankSettings(), **changes})


def peak(audio: np.ndarray) -> float:
    """The strongest frequency, in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(audio, 1 << 17))) * 16_000 / (1 << 17))


@pytest.mark.slow
def test_a_batch_is_a_function_of_seed_and_step(voices: dict[str, Path]) -> None:
    first, second = crops(voices["train"]), crops(voices["train"])
    for _ in second:  # requested in another order
        pass
    for step in (3, 0):
        assert all(torch.equal(a, b) for a, b in zip(first[step], second[step], strict=True))
    assert not torch.equal(crops(voices["train"], seed=6)[0][0], first[0][0])
    features, speakers = first[0]
    assert features.shape == (6, 78, 80)
    assert speakers.shape == (6,)
    assert features.mean(dim=1).abs().max() < 1e-4


def test_every_speaker_comes_once_before_any_comes_again(voices: dict[str, Path]) -> None:
    data = crops(voices["train"])
    assert data.speakers == 3 * 12
    assert sorted(int(speaker) for _, speakers in data for speaker in speakers) == list(range(36))
    assert len(crops(voices["train"], speeds=())) == 6
    assert crops(voices["train"], speeds=()).speakers == 12


@pytest.mark.parametrize(("number", "speed"), [(0, 1.0), (1, 0.9), (2, 1.1)])
def test_a_speed_is_another_speaker_of_other_pitch(voices: dict[str, Path], number: int, speed: float) -> None:
    data = crops(voices["train"])
    for speaker in range(3):
        plain = {round(peak(data.crop(speaker, step, 0))) for step in range(6)}
        changed = peak(data.crop(number * 12 + speaker, 0, 0))
        assert min(abs(changed - speed * frequency) for frequency in plain) < 5


def test_short_utterances_are_repeated(voices: dict[str, Path]) -> None:
    data = crops(voices["train"], crop_s=2.5, speeds=())
    assert data[0][0].shape == (6, 248, 80)
    audio = data.crop(0, 0, 0)
    np.testing.assert_array_equal(audio[:16_000], audio[16_000:32_000])


def test_crops_are_augmented(voices: dict[str, Path], tmp_path: Path) -> None:
    generate_noises(tmp_path / "noise", seed=1, count=2)
    noisy = crops(voices["train"], augmenter=Augmenter(1.0, tmp_path / "noise", None, (0.0, 5.0)))
    plain = crops(voices["train"])
    assert torch.equal(noisy[0][1], plain[0][1])
    difference = noisy.crop(4, 0, 0) - plain.crop(4, 0, 0)
    power = np.square(plain.crop(4, 0, 0)).mean() / np.square(difference).mean()
    assert 0 <= 10 * np.log10(power) <= 5.01


def test_a_faulty_utterance_stops_or_is_skipped(voices: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    class Faulty(ConversationVoices):
        """Every second segment is from a missing file."""

        asked = 0

        def segment(self, voice: int, seconds: float, rng: np.random.Generator) -> tuple[str, float, float]:
            self.asked += 1
            path, start, end = super().segment(voice, seconds, rng)
            return (path, start, end) if self.asked % 2 == 0 else ("gone.wav", start, end)

    values = {"steps": 1, "batch_size": 2, "crop_s": 0.8, "speeds": (), "augmenter": None, "seed": 5}
    values |= {"settings": FbankSettings()}
    with pytest.raises(UserError, match=r"gone\.wav: cannot be read as audio \(no such file\)"):
        SpeakerCrops(Faulty(voices["train"]), **values)[0]
    assert torch.isfinite(SpeakerCrops(Faulty(voices["train"]), **values, skip_faulty=True)[0][0]).all()
    assert capsys.readouterr().err.count("mlcslm: skipped: gone.wav") == 1  # drawn twice


def test_a_speaker_without_readable_audio_is_refused() -> None:
    class Gone:
        def __len__(self) -> int:
            return 1

        def segment(self, voice: int, seconds: float, rng: np.random.Generator) -> tuple[str, float, float]:
            return "gone.wav", 0.0, 1.0

    data = SpeakerCrops(
        Gone(), steps=1, batch_size=1, crop_s=1, speeds=(), augmenter=None, settings=FbankSettings(), seed=1,
        skip_faulty=True,
    )  # fmt: skip
    with pytest.raises(UserError, match=r"gone\.wav"):
        data[0]
