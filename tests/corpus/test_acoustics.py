from __future__ import annotations

import numpy as np
import pytest
import soundfile
from scipy.signal import welch

from mlcslm.corpus.acoustics import NOISES, RT60_SECONDS, generate_noises, generate_room_responses, room_response


@pytest.mark.parametrize("generate", [generate_noises, generate_room_responses])
def test_files_are_16_khz_pcm_mono_and_a_function_of_the_seed(tmp_path, generate):
    paths = generate(tmp_path / "one", 7, 8)
    again = generate(tmp_path / "two", 7, 3)
    other = generate(tmp_path / "three", 8, 3)
    assert len(set(paths)) == 8
    assert sorted((tmp_path / "one").iterdir()) == sorted(paths)
    for path in paths:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
    for number in range(3):
        assert paths[number].read_bytes() == again[number].read_bytes() != other[number].read_bytes()


def test_files_of_an_earlier_and_larger_count_do_not_stay(tmp_path):
    generate_noises(tmp_path / "noises", 1, 3)
    generate_noises(tmp_path / "noises", 1, 1)
    assert len(list((tmp_path / "noises").iterdir())) == 1


def test_noises_of_every_kind_last_four_seconds_and_are_loud(tmp_path):
    paths = generate_noises(tmp_path / "noises", 1, len(NOISES))
    assert [path.stem.split("-")[-1] for path in paths] == list(NOISES)
    for path in paths:
        audio, _ = soundfile.read(path)
        assert len(audio) == 64000
        assert 0.85 < np.abs(audio).max() < 0.95
        assert np.std(audio[32000:]) > 0.005


@pytest.mark.parametrize(("kind", "decibels_an_octave"), [("white", 0), ("pink", -3.01), ("brown", -6.02)])
def test_coloured_noise_falls_as_its_colour_says(kind, decibels_an_octave):
    frequency, power = welch(NOISES[kind](np.random.default_rng(3), 160_000), 16000, nperseg=4096)
    band = (frequency > 50) & (frequency < 6000)
    slope = np.polyfit(np.log2(frequency[band]), 10 * np.log10(power[band]), 1)[0]
    assert slope == pytest.approx(decibels_an_octave, abs=0.3)


@pytest.mark.parametrize("rt60", [*RT60_SECONDS, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_a_response_decays_in_its_reverberation_time(rt60, seed):
    """Schroeder's backward integration: the energy left falls from -15 to -35 dB in a third of the RT60."""
    response = room_response(np.random.default_rng(seed), rt60)
    left = 10 * np.log10(np.cumsum(np.square(response[::-1]))[::-1])
    time = np.arange(len(response)) / 16000
    direct = int(np.argmax(np.abs(response)))
    tail = slice(direct + 800, direct + round(0.75 * rt60 * 16000))
    slope = np.polyfit(time[tail], left[tail], 1)[0]
    assert -60 / slope == pytest.approx(rt60, rel=0.2)


@pytest.mark.parametrize("seed", range(20))
def test_the_direct_path_comes_first_and_is_the_largest(seed):
    response = room_response(np.random.default_rng(seed), 0.4)
    direct = int(np.argmax(np.abs(response)))
    assert response[direct] == 1.0
    assert not response[:direct].any()
    assert 0.5 / 343 * 16000 - 1 <= direct <= 3.0 / 343 * 16000 + 1
