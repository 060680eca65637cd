"""Inspection of samples: each fault, constructed by hand, and valid recordings of every kind."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlcslm.corpus.audio import read_audio, read_header, read_segment
from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.manifest import read_corpus
from mlcslm.corpus.samples import SILENCE_DB, inspect_audio
from mlcslm.errors import FaultyInput, UserError

RATE = 8000
READERS = (read_audio, lambda path: read_segment(path, 0, 4))


def speech(seed: int = 0, seconds: float = 6.0) -> np.ndarray:
    """Noise that comes and goes in turns of a second."""
    samples = round(seconds * RATE)
    on = (np.arange(samples) // RATE % 2 == seed % 2).astype(float)
    return 0.2 * np.random.default_rng(seed).uniform(-1, 1, samples) * (0.002 + on)


def written(path: Path, samples: np.ndarray, subtype: str = "PCM_16", rate: int = RATE) -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def kinds(path: Path) -> list[FaultKind]:
    return [kind for kind, _ in inspect_audio(path).problems]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_one_sample_that_is_no_number_is_found_and_the_file_named(tmp_path: Path, bad: float, subtype: str) -> None:
    samples = speech()
    samples[12345] = bad
    path = written(tmp_path / "a.wav", samples, subtype)
    ((kind, message),) = inspect_audio(path).problems
    assert kind is FaultKind.SAMPLES and "(1 NaN or infinite)" in message
    for read in READERS:
        with pytest.raises(UserError, match=r"a\.wav: contains samples that are not numbers"):
            read(path)
    assert len(read_segment(path, 2, 3)) == 16000  # what is elsewhere can be read


def test_samples_in_the_range_of_integers_are_named_and_a_little_overshoot_is_not(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", 32768 * speech(), "FLOAT")
    assert kinds(path) == [FaultKind.SAMPLES]
    for read in READERS:
        with pytest.raises(UserError, match=r"a\.wav: its samples reach 6,[0-9]{3}, expected at most about 1"):
            read(path)
    assert kinds(written(path, 7 * speech(), "FLOAT")) == []


@pytest.mark.parametrize("gain", [1.0, 0.9])
def test_channels_that_cancel_each_other_are_named(tmp_path: Path, gain: float) -> None:
    path = written(tmp_path / "a.wav", np.stack([speech(), -gain * speech()], axis=1))
    assert kinds(path) == [FaultKind.CANCELLING_CHANNELS]
    with pytest.raises(UserError, match=r"a\.wav: its channels cancel each other"):
        read_audio(path)


def test_a_speaker_on_each_channel_is_recognised(tmp_path: Path) -> None:
    crosstalk = 0.05
    left, right = speech(0), speech(1)
    mixed = np.stack([left + crosstalk * right, right + crosstalk * left], axis=1)
    assert kinds(written(tmp_path / "a.wav", mixed)) == [FaultKind.SPEAKER_CHANNELS]


@pytest.mark.parametrize(
    "gains",
    [[(1, 1), (1, 1)], [(1, 0.1), (1, 0.1)], [(1, 0), (1, 0)], [(1, 0.6), (0.6, 1)], [(1, 0), (0, 0)]],
    ids=["both in the middle", "one channel quieter", "one channel dead", "placed left and right", "one speaker alone"],
)
def test_other_stereo_is_taken(tmp_path: Path, gains: list[tuple[float, float]]) -> None:
    noise = np.random.default_rng(9).normal(0, 1e-3, (6 * RATE, 2))
    sound = sum(np.outer(speech(number), gain) for number, gain in enumerate(gains))
    assert kinds(written(tmp_path / "a.wav", sound + noise)) == []


def test_levels_and_clipping_are_those_of_the_frames(tmp_path: Path) -> None:
    tone = np.sin(np.arange(RATE) * 2 * np.pi * 100 / RATE)
    samples = np.concatenate([np.zeros(RATE), 0.1 * tone, np.clip(4 * tone, -1, 1)])
    found = inspect_audio(written(tmp_path / "a.wav", samples), levels=True).samples
    assert set(found.levels[:10]) == {SILENCE_DB} and found.peak == 1.0
    assert set(found.levels[10:20]) == {-23}  # 20 lg 0.1 - 3 dB
    assert not found.clipped[:20].any()
    expected = np.abs(np.clip(4 * tone, -1, 1)) >= 1
    assert found.clipped[20:].sum() == pytest.approx(expected.sum(), abs=20)


@pytest.mark.parametrize("offset", [0.4, -0.1])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_constant_offset_is_measured_and_changes_nothing_else(tmp_path: Path, offset: float, subtype: str) -> None:
    """Silence stays silent, speech as loud as it is, and channels as different as they are."""
    rng = np.random.default_rng(3)
    sound = np.concatenate([speech(), 1e-5 * rng.normal(size=RATE)])
    plain = inspect_audio(written(tmp_path / "a.wav", sound, subtype), levels=True).samples
    moved = inspect_audio(written(tmp_path / "b.wav", sound + offset, subtype), levels=True).samples
    assert abs(plain.offset) < 1e-3 and moved.offset == pytest.approx(offset, abs=1e-3)
    loud = plain.levels > -60
    assert (moved.levels[loud] == plain.levels[loud]).all() and (moved.levels[~loud] <= -60).all()
    cancelling = np.stack([sound + offset, offset - sound], axis=1)
    assert kinds(written(tmp_path / "c.wav", cancelling, subtype)) == [FaultKind.CANCELLING_CHANNELS]
    apart = np.stack([speech(0), speech(1)], axis=1) + offset
    assert kinds(written(tmp_path / "d.wav", apart, subtype)) == [FaultKind.SPEAKER_CHANNELS]


def test_the_manifest_names_recordings_with_an_offset(tmp_path: Path, languages) -> None:
    root = corpus(tmp_path / "dev", speech() + 0.4)
    (notice,) = read_corpus(root, languages).notices
    assert notice.startswith("1 recording is off centre, by 2 % of full scale or more") and notice.endswith(
        f"highpass 20`): {root}/French/a.wav (+40 %)"
    )


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "ULAW", "ALAW", "MS_ADPCM"])
def test_every_seekable_format_is_read_whole(tmp_path: Path, subtype: str) -> None:
    found = inspect_audio(written(tmp_path / "a.wav", speech(), subtype))
    assert found.problems == () and 0.18 < found.samples.peak < 0.4  # ADPCM overshoots noise


def test_a_format_that_cannot_seek_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = written(tmp_path / "a.wav", speech(), "GSM610")
    for read in (read_header, inspect_audio, *READERS):
        with pytest.raises(UserError, match=r"a\.wav: is GSM 6\.10 in WAV, .* Convert it \(`sox"):
            read(path)


def with_size(path: Path, size: int, tail: bytes = b"") -> Path:
    """A wav whose data chunk declares `size` bytes."""
    content = bytearray(written(path, speech()).read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(bytes(content) + tail)
    return path


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0xFFFFFFFF - 36])
def test_sizes_that_streaming_writers_leave_mean_all_there_is(tmp_path: Path, size: int) -> None:
    path = with_size(tmp_path / "a.wav", size)
    assert inspect_audio(path).header.frames == 6 * RATE
    whole = read_audio(path, RATE)
    np.testing.assert_allclose(whole, speech(), atol=1e-4)


@pytest.mark.parametrize("size", [0, 2 * RATE, 2 * RATE + 1])
def test_a_header_that_declares_less_than_is_there_is_named(tmp_path: Path, size: int) -> None:
    path = with_size(tmp_path / "a.wav", size)
    for read in (read_header, inspect_audio, *READERS):
        with pytest.raises(UserError, match=rf"a\.wav: its header declares {size:,} bytes of audio, but 96,000 are"):
            read(path)


@pytest.mark.parametrize(
    "tail", [b"LIST\x04\0\0\0INFO", b"id3 \x02\0\0\0xy", b"\0" * 4096, b"\0LIST\x04\0\0\0INFO", b"xy"]
)
def test_chunks_and_padding_behind_the_audio_are_no_audio(tmp_path: Path, tail: bytes) -> None:
    assert inspect_audio(with_size(tmp_path / "a.wav", 12 * RATE, tail)).header.frames == 6 * RATE


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(UserError, match=r"a\.wav: cannot be read as audio \(not a file\)"):
        inspect_audio(tmp_path / "a.wav")


def test_half_an_hour_takes_no_time(tmp_path: Path) -> None:
    minute = np.tile(speech(seconds=10.0), 6)
    with soundfile.SoundFile(tmp_path / "a.wav", "w", 16000, 1, "PCM_16") as file:
        for _ in range(60):
            file.write(minute)
    took = []
    for _ in range(3):
        begun = time.process_time()
        inspect_audio(tmp_path / "a.wav")
        took.append(time.process_time() - begun)
    assert min(took) < 0.2


def corpus(root: Path, samples: np.ndarray, end: float = 1.4, text: str = "bonjour") -> Path:
    (root / "French").mkdir(parents=True)
    written(root / "French" / "a.wav", samples)
    (root / "French" / "a.txt").write_text(f"0.1\t{end}\tO1\t{text}\n", encoding="utf-8")
    return root


def test_the_manifest_asks_about_a_speaker_on_each_channel_and_takes_the_answer(tmp_path: Path, languages) -> None:
    root = corpus(tmp_path / "dev", np.stack([speech(0), speech(1)], axis=1))
    with pytest.raises(FaultyInput, match=r"a\.wav: has one speaker per channel.* --channels mean"):
        read_corpus(root, languages)
    assert read_corpus(root, languages, channels="mean").table.num_rows == 1
    with pytest.raises(FaultyInput, match="no utterances remain"):
        read_corpus(root, languages, skip_faulty=True)


def test_what_may_surprise_is_told_and_kept(tmp_path: Path, languages) -> None:
    root = corpus(tmp_path / "dev", np.zeros(40 * RATE), 39.5, "cafe\u0301 \ufeffoui")
    reading = read_corpus(root, languages)
    assert reading.table.num_rows == 1 and not reading.faults
    name = "French-a-O1-000010-003950"
    assert reading.notices == [
        f"1 recording is digital silence (every sample 0): {root}/French/a.wav",
        "1 utterance is longer than the encoder's 30 s: decoded in pieces split at pauses, not used for "
        f"training: {name} (39.4 s)",
        f"1 text is kept with invisible characters (U+FEFF once): {name}",
        f"1 text is kept with decomposed accents (not in Unicode's NFC): {name}",
    ]
    assert not read_corpus(corpus(tmp_path / "other", speech()), languages).notices
