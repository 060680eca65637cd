"""espeak-ng's speech: reproducible in any process, 16 kHz, without silence at its ends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from mlcslm.config.languages import read_languages
from mlcslm.corpus.demo.synthesis import SAMPLE_RATE, Voice, speak_many, trim
from mlcslm.corpus.demo.voices import GROUP_VOICES, VARIANTS, draw_voice
from mlcslm.errors import UserError

SHEET = Path(__file__).parents[2] / "config" / "languages.tsv"
ENGLISH = Voice("en-us", "f3", 50, 50, 160)
BATCHES = [
    [(ENGLISH, "Where will Anna be on Monday?"), (ENGLISH, "Yes, of course.")],
    [(Voice("fr", "m1", 40, 45, 150), "Je voudrais du pain.")],
    [(Voice("ja", "f2", 60, 50, 170), "月曜日に会いましょう。")],
    [],
    [(ENGLISH, "Yes, of course.")],
]


@pytest.fixture(scope="module")
def spoken() -> list[list[np.ndarray]]:
    return list(speak_many(BATCHES, workers=2))


def same(first: list[list[np.ndarray]], second: list[list[np.ndarray]]) -> bool:
    return [[a.tobytes() for a in batch] for batch in first] == [[a.tobytes() for a in batch] for batch in second]


@pytest.mark.slow
def test_every_batch_is_answered_in_order(spoken: list[list[np.ndarray]]) -> None:
    assert [len(batch) for batch in spoken] == [2, 1, 1, 0, 1]
    assert all(audio.dtype == np.float32 and audio.ndim == 1 for batch in spoken for audio in batch)


def test_the_number_of_workers_changes_nothing(spoken: list[list[np.ndarray]]) -> None:
    assert same(spoken, list(speak_many(BATCHES, workers=1)))


def test_what_was_said_before_in_other_batches_changes_nothing(spoken: list[list[np.ndarray]]) -> None:
    """espeak-ng keeps the state of its noise sources between utterances; batches must not be affected."""
    assert same([spoken[2]], list(speak_many([BATCHES[2]], workers=1)))


def test_speech_has_its_length_level_and_band_at_16_khz(spoken: list[list[np.ndarray]]) -> None:
    assert SAMPLE_RATE == 16_000
    question, answer = spoken[0]
    # Six words at 160 a minute; "Yes, of course" is half of them.
    assert 1.0 < len(question) / SAMPLE_RATE < 3.0
    assert 0.5 < len(answer) / SAMPLE_RATE < len(question) / SAMPLE_RATE
    for audio in (question, answer):
        assert 0.05 < np.abs(audio).max() <= 1
        # Voiced speech: most energy between 80 Hz and 4 kHz. Read at a wrong rate, the pitch would leave 50-400 Hz.
        spectrum = np.abs(np.fft.rfft(audio)) ** 2
        frequency = np.fft.rfftfreq(len(audio), 1 / SAMPLE_RATE)
        assert spectrum[(frequency > 80) & (frequency < 4000)].sum() > 0.9 * spectrum.sum()


def test_a_higher_pitch_is_higher() -> None:
    low, high = (Voice("en-us", "m1", pitch, 50, 160) for pitch in (30, 70))
    audio = next(speak_many([[(low, "no no no no"), (high, "no no no no")]], workers=1))
    assert fundamental(audio[1]) > 1.15 * fundamental(audio[0])


def fundamental(audio: np.ndarray) -> float:
    """Hz: where the autocorrelation of the loudest 60 ms has its highest peak between 60 and 400 Hz."""
    middle = int(np.argmax(np.convolve(audio**2, np.ones(960), "valid")))
    frame = audio[middle : middle + 960]
    correlation = np.correlate(frame, frame, "full")[len(frame) - 1 :]
    first, last = SAMPLE_RATE // 400, SAMPLE_RATE // 60
    return SAMPLE_RATE / (first + int(np.argmax(correlation[first:last])))


def test_silence_at_both_ends_is_cut_to_the_margin(spoken: list[list[np.ndarray]]) -> None:
    for audio in (audio for batch in spoken for audio in batch):
        loud = np.flatnonzero(np.abs(audio) > 0.003)
        assert loud[0] <= 480
        assert len(audio) - loud[-1] <= 480


def test_trim_by_hand() -> None:
    audio = np.zeros(5000, np.float32)
    audio[2000:3001] = 0.5
    assert len(trim(audio, margin=100)) == 100 + 1001 + 99
    assert trim(audio, margin=100)[100] == 0.5
    assert len(trim(audio, margin=4000)) == 5000
    assert len(trim(np.full(100, 0.002, np.float32))) == 0


def test_a_voice_that_espeak_lacks_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"while speaking as xx\+f3"):
        list(speak_many([[(Voice("xx", "f3", 50, 50, 160), "hello")]], workers=1))
    output = capfd.readouterr().err
    assert "mlcslm: espeak-ng has no voice 'xx+f3'" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_every_voice_of_the_demo_exists_and_speaks(capfd: pytest.CaptureFixture[str]) -> None:
    """All variants once, spread over all languages; no two voices of one language sound the same."""
    languages = list(dict.fromkeys(GROUP_VOICES.values()))
    variants = [variant for split in VARIANTS.values() for variant in split]
    batches = [
        [(Voice(language, variant, 50, 50, 160), "a e i o u")]
        for number, variant in enumerate(variants)
        for language in {languages[number % len(languages)], "en-us"}
    ]
    spoken = [audio for (audio,) in speak_many(batches, workers=2)]
    assert all(len(audio) > 3000 for audio in spoken)
    english = [audio.tobytes() for batch, audio in zip(batches, spoken, strict=True) if batch[0][0].language == "en-us"]
    assert len(set(english)) == len(english) == len(variants)


def test_no_voice_belongs_to_two_splits() -> None:
    seen = [variant for split in VARIANTS.values() for variant in split]
    assert len(seen) == len(set(seen))
    assert min(len(split) for split in VARIANTS.values()) >= 8


def test_every_group_has_a_voice_and_another_is_refused() -> None:
    groups = read_languages(SHEET)
    assert set(GROUP_VOICES) == set(groups)
    assert len(set(GROUP_VOICES.values())) == len(groups)
    with pytest.raises(UserError, match="no voice for group 'Latin'"):
        draw_voice("Latin", "train", np.random.default_rng(0))


def test_speakers_of_a_session_are_two() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        first = draw_voice("French", "dev", rng)
        second = draw_voice("French", "dev", rng, unlike=first)
        assert first.variant != second.variant
        assert {first.variant, second.variant} <= set(VARIANTS["dev"])


@pytest.mark.slow
def test_a_long_path_to_espeaks_data_works_and_leaves_nothing_behind(
    spoken: list[list[np.ndarray]], tmp_path: Path
) -> None:
    """espeak-ng keeps its data's path in 160 bytes; users' environments may have longer paths."""
    import espeakng_loader

    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    shutil.copytree(Path(espeakng_loader.__file__).parent, deep / "espeakng_loader")
    (tmp_path / "temporary").mkdir()
    program = """
        import sys, espeakng_loader
        from mlcslm.corpus.demo.synthesis import Voice, speak_many
        assert len(espeakng_loader.get_data_path()) > 200
        voice = Voice("en-us", "f3", 50, 50, 160)
        batches = [[(voice, "Where will Anna be on Monday?"), (voice, "Yes, of course.")]] * 3
        for batch in speak_many(batches, workers=1):
            last = batch
        sys.stdout.buffer.write(last[0].tobytes())
    """
    environment = os.environ | {"PYTHONPATH": str(deep), "TMPDIR": str(tmp_path / "temporary")}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, env=environment, check=True
    )
    assert done.stdout == spoken[0][0].tobytes()
    assert not list((tmp_path / "temporary").iterdir())


def test_ctrl_c_is_the_callers_to_answer() -> None:
    # A terminal signals all processes of its foreground group; these would print a traceback each.
    program = """
import os, signal
from mlcslm.corpus.demo.synthesis import Voice, speak_many
signal.signal(signal.SIGINT, lambda *_: print("asked to stop"))
spoken = speak_many([[(Voice("en-us", "m1", 50, 50, 160), text)] for text in ("one", "two", "three")], workers=1)
print(len(next(spoken)))
os.killpg(0, signal.SIGINT)
print(len(list(spoken)))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, start_new_session=True)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["1", "asked", "to", "stop", "2"], "")
