from __future__ import annotations

import io
import struct
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcslm.corpus.audio import CONTEXT_SECONDS, count_samples, read_audio, read_header, read_segment, segment_samples
from mlcslm.errors import UserError

RATES = (8000, 11025, 16000, 22050, 44100, 48000)
SECONDS = 2.5


def noise(rate: int, channels: int = 1) -> np.ndarray:
    return 0.3 * np.random.default_rng(rate).uniform(-1, 1, (round(SECONDS * rate), channels))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """By rate: the path of a recording, and the whole of it resampled to 16 kHz at once."""
    folder = tmp_path_factory.mktemp("audio")
    made = {}
    for rate in RATES:
        path = folder / f"{rate}.wav"
        soundfile.write(path, noise(rate), rate, subtype="FLOAT")
        whole = soundfile.read(path, dtype="float32")[0]
        made[rate] = path, whole if rate == 16000 else soxr.resample(whole, rate, 16000, quality="HQ")
    return made


@settings(deadline=None)
@given(rate=st.sampled_from(RATES), start=st.floats(0, SECONDS + 0.5), length=st.floats(0, SECONDS + 0.5))
def test_a_segment_is_the_slice_of_the_whole_at_16_khz(recordings, rate, start, length):
    path, whole = recordings[rate]
    segment = read_segment(path, start, start + length)
    expected = whole[round(start * 16000) : round((start + length) * 16000)]
    assert segment.dtype == np.float32
    assert segment.shape == expected.shape
    np.testing.assert_allclose(segment, expected, atol=1e-6)


@pytest.mark.parametrize("rate", RATES)
def test_the_file_is_read_whole_as_soxr_resamples_it(recordings, rate):
    path, whole = recordings[rate]
    np.testing.assert_array_equal(read_audio(path), whole)
    assert abs(count_samples(path) - len(whole)) <= 1


@given(st.lists(st.floats(0, 3600), min_size=2, max_size=6).map(sorted))
def test_touching_segments_tile_their_span(boundaries):
    parts = [segment_samples(start, end) for start, end in pairwise(boundaries)]
    assert sum(parts) == segment_samples(boundaries[0], boundaries[-1])


def test_segments_are_clipped_to_the_file(recordings):
    path, whole = recordings[16000]
    np.testing.assert_array_equal(read_segment(path, -1.0, 0.5), whole[:8000])
    np.testing.assert_array_equal(read_segment(path, 2.0, 99.0), whole[32000:])
    assert read_segment(path, 50.0, 51.0).shape == (0,)
    with pytest.raises(ValueError, match="before its start"):
        read_segment(path, 2.0, 1.0)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_channels_are_averaged(tmp_path, rate):
    stereo = noise(rate, channels=2)
    soundfile.write(tmp_path / "stereo.wav", stereo, rate, subtype="FLOAT")
    soundfile.write(tmp_path / "mono.wav", stereo.mean(axis=1), rate, subtype="FLOAT")
    expected = read_segment(tmp_path / "mono.wav", 0.5, 1.5)
    np.testing.assert_allclose(read_segment(tmp_path / "stereo.wav", 0.5, 1.5), expected, atol=1e-6)
    np.testing.assert_allclose(
        read_audio(tmp_path / "stereo.wav", rate, channel=1), stereo[:, 1].astype(np.float32), atol=1e-7
    )


@pytest.mark.parametrize("rate", [16000, 48000])
def test_only_the_segment_and_its_context_are_read(recordings, monkeypatch, rate):
    counts = []
    read = soundfile.SoundFile.read

    def counting(self, frames=-1, *args, **kwargs):
        counts.append(frames)
        return read(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    read_segment(recordings[rate][0], 1.0, 1.25)
    assert 0.25 * rate <= sum(counts) <= (0.25 + 2 * CONTEXT_SECONDS) * rate + rate / 100


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_the_header_says_rate_channels_and_frames(tmp_path, name):
    soundfile.write(tmp_path / name, np.zeros((400, 2)), 8000)
    header = read_header(tmp_path / name)
    assert (header.sample_rate, header.channels, header.frames, header.duration) == (8000, 2, 400, 0.05)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
@pytest.mark.parametrize("container", ["WAV", "RF64", "WAVEX"])
@pytest.mark.parametrize("lost", [1, 2, 1000])
def test_a_wav_cut_short_by_any_bytes_is_told_from_a_whole_one(tmp_path, subtype, container, lost):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(8000), 8000, subtype=subtype, format=container)
    whole = path.read_bytes()
    # What follows the audio (a chunk of peaks, a padding byte) is no part of it.
    after = len(whole) - (
        whole.index(b"data", 12) + 8 + 20000 * {"PCM_16": 2, "PCM_24": 3, "FLOAT": 4, "ULAW": 1}[subtype]
    )
    assert read_header(path).frames == 20000
    path.write_bytes(whole[: len(whole) - after - lost])
    with pytest.raises(UserError, match=r"a\.wav: is truncated: its header declares"):
        read_header(path)


def test_chunks_around_the_audio_do_not_matter(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100), 16000, subtype="PCM_16")
    head, data = (content := path.read_bytes())[:36], content[36:]
    path.write_bytes(head + struct.pack("<4sI", b"LIST", 3) + b"abc\0" + data + struct.pack("<4sI", b"id3 ", 2) + b"xy")
    assert read_header(path).frames == 100
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="declares 200 bytes of audio, but only 110 are there"):
        read_header(path)


def test_a_wav_of_unknown_length_from_a_pipe_is_whole(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(100), 16000, subtype="PCM_16")
    content = path.read_bytes()
    path.write_bytes(content[:40] + b"\xff\xff\xff\xff" + content[44:])
    assert read_header(path).frames == 100


def test_a_flac_cut_short_is_refused(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(16000), 16000)
    path.write_bytes(path.read_bytes()[:-20000])
    with pytest.raises(UserError, match=r"a\.flac"):
        read_header(path)
    with pytest.raises(UserError, match=r"a\.flac"):
        read_segment(path, 2.0, 2.4)


def empty_wav() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(0), 16000, format="WAV")
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"no audio at all", b"RIFF\0\0\0\0WAVE", empty_wav()], ids=lambda content: len(content)
)
def test_what_is_no_audio_is_refused_by_name(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.wav: (cannot be read as audio|contains no audio)"):
        read_header(path)


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
def test_a_text_named_as_audio_is_not_called_missing(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_text("hello")
    with pytest.raises(UserError, match=rf"a\.{suffix}: cannot be read as audio \((?!.*(exist|Error opening))\S.*\);"):
        read_header(path)


@pytest.mark.parametrize("read", [read_header, read_audio, lambda path: read_segment(path, 0, 1)])
def test_a_missing_file_is_named(tmp_path, read):
    with pytest.raises(UserError, match=r"none\.wav: .*no such file"):
        read(tmp_path / "none.wav")
