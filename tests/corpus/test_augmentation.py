from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcslm.corpus.audio import read_audio
from mlcslm.corpus.augmentation import Augmenter, add_noise, generate_noises, generate_room_responses, reverberate
from mlcslm.errors import UserError


def speech(samples: int = 20_000, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def decibels(ratio: float) -> float:
    return 10 * np.log10(ratio)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("augmentation")
    generate_noises(folder / "noises", 1, 6)
    generate_room_responses(folder / "rooms", 1, 6)
    return folder / "noises", folder / "rooms"


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), samples=st.sampled_from([1, 2, 100, 8000, 70_000, 150_000]))
@pytest.mark.slow
def test_augmentation_is_a_pure_function_of_the_generator(folders, seed, samples):
    augmenter = Augmenter(0.7, *folders)
    audio = speech(samples)
    before = audio.copy()
    one, two = (augmenter(audio, np.random.default_rng(seed)) for _ in range(2))
    assert one.dtype == np.float32
    assert one.shape == audio.shape
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(audio, before)


def test_seven_in_ten_samples_change_half_of_them_by_noise(folders):
    rng = np.random.default_rng(0)
    audio = speech(1000)
    augmenter = Augmenter(0.7, *folders)
    changed = [augmented for _ in range(600) if (augmented := augmenter(audio, rng)) is not audio]
    energy = np.square(audio, dtype=np.float64).sum()
    kept = [np.square(one, dtype=np.float64).sum() == pytest.approx(energy, rel=1e-4) for one in changed]
    assert len(changed) / 600 == pytest.approx(0.7, abs=0.06)
    assert np.mean(kept) == pytest.approx(0.5, abs=0.08)


def test_one_folder_alone_is_used_for_every_changed_sample(folders):
    audio = speech()
    for noise, room, keeps_energy in [(folders[0], None, False), (None, folders[1], True)]:
        augmenter = Augmenter(1.0, noise, room)
        for seed in range(10):
            augmented = augmenter(audio, np.random.default_rng(seed))
            assert not np.array_equal(augmented, audio)
            assert (np.linalg.norm(augmented) == pytest.approx(np.linalg.norm(audio), rel=1e-4)) == keeps_energy


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_no_probability_or_no_folders_change_nothing(folders, probability):
    augmenter = Augmenter(probability, *(folders if probability == 0 else (None, None)))
    assert all(augmenter(audio := speech(), np.random.default_rng(seed)) is audio for seed in range(50))


def test_signal_to_noise_ratios_are_spread_evenly_over_their_bounds(folders):
    audio = speech()
    augmenter = Augmenter(1.0, folders[0], None, snr_db=(0, 15))
    ratios = []
    for seed in range(200):
        noise = augmenter(audio, np.random.default_rng(seed)).astype(np.float64) - audio
        ratios.append(decibels(np.square(audio, dtype=np.float64).sum() / np.square(noise).sum()))
    assert min(ratios) >= -0.01
    assert max(ratios) <= 15.01
    assert np.mean(ratios) == pytest.approx(7.5, abs=1)
    assert np.std(ratios) == pytest.approx(15 / np.sqrt(12), abs=0.5)


@given(snr_db=st.floats(-10, 40), gain=st.floats(1e-3, 1e3))
def test_noise_is_scaled_to_the_ratio_whatever_its_loudness(snr_db, gain):
    audio, noise = speech(4000), speech(4000, seed=1)
    added = add_noise(audio, np.float32(gain) * noise, snr_db).astype(np.float64) - audio
    measured = decibels(np.square(audio, dtype=np.float64).sum() / np.square(added).sum())
    assert measured == pytest.approx(snr_db, abs=0.02)
    assert np.corrcoef(added, noise)[0, 1] == pytest.approx(1, abs=1e-3)


def test_silence_has_no_ratio_and_stays_as_it_is():
    audio = speech(100)
    np.testing.assert_array_equal(add_noise(audio, np.zeros(100, np.float32), 0.0), audio)
    np.testing.assert_array_equal(add_noise(np.zeros(100, np.float32), audio, 0.0), np.zeros(100))


@pytest.mark.parametrize(("noise_samples", "rate"), [(100, 16000), (999, 16000), (30_000, 16000), (1000, 8000)])
def test_noise_starts_anywhere_and_is_looped_to_the_length_of_the_audio(tmp_path, noise_samples, rate):
    soundfile.write(tmp_path / "a.wav", speech(noise_samples), rate, subtype="FLOAT")
    noise = read_audio(tmp_path / "a.wav")
    audio = speech(3000, seed=1)
    augmenter = Augmenter(1.0, tmp_path, None)
    starts = set()
    for seed in range(20):
        added = augmenter(audio, np.random.default_rng(seed)) - audio
        padded = np.zeros(len(noise) * -(-3000 // len(noise)))
        padded[:3000] = added
        folded = padded.reshape(-1, len(noise)).sum(axis=0)
        start = int(np.argmax(np.fft.irfft(np.fft.rfft(noise) * np.fft.rfft(folded).conj(), len(noise))))
        looped = np.take(noise, np.arange(start, start + 3000), mode="wrap")
        np.testing.assert_allclose(added / np.linalg.norm(added), looped / np.linalg.norm(looped), atol=1e-5)
        starts.add(start)
    assert len(starts) > 10


@settings(deadline=None)
@given(seed=st.integers(0, 1000), length=st.integers(1, 400), response_length=st.integers(1, 400))
def test_reverberation_is_the_convolution_from_the_direct_path_on(seed, length, response_length):
    audio, response = speech(length, seed), speech(response_length, seed + 1)
    direct = np.argmax(np.abs(response))
    expected = np.convolve(audio.astype(np.float64), response.astype(np.float64))[direct:][:length] * np.sign(
        response[direct]
    )
    wet = reverberate(audio, response)
    assert wet.shape == audio.shape
    assert np.linalg.norm(wet) == pytest.approx(np.linalg.norm(audio), rel=1e-3)
    np.testing.assert_allclose(wet / np.linalg.norm(wet), expected / np.linalg.norm(expected), atol=1e-4)


@pytest.mark.parametrize("gain", [1.0, -0.3])
def test_a_room_without_echo_changes_nothing_however_far_the_speaker(gain):
    response = np.zeros(500, np.float32)
    response[137] = gain
    np.testing.assert_allclose(reverberate(speech(), response), speech(), atol=1e-6)


def test_silence_stays_silent_in_any_room(folders):
    silence = np.zeros(1000, np.float32)
    np.testing.assert_array_equal(Augmenter(1.0, None, folders[1])(silence, np.random.default_rng(0)), silence)
    assert Augmenter(1.0, *folders)(silence[:0], np.random.default_rng(0)).shape == (0,)


def test_folders_are_searched_at_any_depth_in_a_fixed_order(tmp_path):
    for name in ("noise/free-sound/b.wav", "music/a.flac", "noise/free-sound/a.WAV", "noise/.hidden.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, speech(10), 16000)
    (tmp_path / "noise" / "ANNOTATIONS").write_text("")
    names = [path.relative_to(tmp_path).as_posix() for path in Augmenter(1.0, tmp_path, None).noises]
    assert names == ["music/a.flac", "noise/free-sound/a.WAV", "noise/free-sound/b.wav"]


def test_of_slr28_only_the_room_responses_are_used_by_their_first_channel(tmp_path):
    audio, response = speech(1000), np.zeros((300, 8))
    response[20], response[50:, 0], response[60:, 1:] = 0.9, 0.1, -0.4
    used = tmp_path / "real_rirs_isotropic_noises" / "RVB2014_type1_rir_largeroom1_far_angla.wav"
    skipped = [used.with_name("RVB2014_type1_noise_largeroom1_1.wav"), tmp_path / "pointsource_noises" / "n.wav"]
    for path in (used, *skipped):
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, response, 16000, subtype="FLOAT")
    augmenter = Augmenter(1.0, None, tmp_path)
    assert augmenter.responses == [used]
    expected = reverberate(audio, response[:, 0].astype(np.float32))
    np.testing.assert_allclose(augmenter(audio, np.random.default_rng(0)), expected, atol=1e-6)
    used.unlink()
    with pytest.raises(UserError, match="only SLR28's noises"):
        Augmenter(1.0, None, tmp_path)


@pytest.mark.parametrize("arguments", [("{}", None), (None, "{}")])
def test_a_folder_that_is_missing_or_holds_no_audio_is_named(tmp_path, arguments):
    for folder, message in [(tmp_path / "none", "no such folder"), (tmp_path, "no wav or flac")]:
        with pytest.raises(UserError, match=f"{folder}: .*{message}"):
            Augmenter(0.7, *(argument and argument.format(folder) for argument in arguments))


def test_a_bad_file_is_named_when_it_is_drawn(tmp_path):
    audio = speech(100)
    for name, content in [("corrupt", None), ("empty", speech(0)), ("silent", np.zeros(50))]:
        folder = tmp_path / name
        folder.mkdir()
        path = folder / "a.wav"
        path.write_bytes(b"noise") if content is None else soundfile.write(path, content, 16000)
        arguments = (None, folder) if name == "silent" else (folder, None)
        with pytest.raises(UserError, match=str(path)):
            Augmenter(1.0, *arguments)(audio, np.random.default_rng(0))


def test_an_impossible_probability_is_refused():
    with pytest.raises(ValueError, match="0 to 1"):
        Augmenter(1.5, None, None)
