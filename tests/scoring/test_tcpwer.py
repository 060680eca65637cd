"""tcpWER, cpWER and tcORC-WER against meeteval's own functions and its command line."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meeteval.io.stm import STM
from meeteval.wer.wer.cp import cp_word_error_rate
from meeteval.wer.wer.time_constrained import tcp_word_error_rate
from meeteval.wer.wer.time_constrained_orc import time_constrained_orc_wer

from mlcslm.config.languages import read_languages
from mlcslm.formats.segments import Utterance
from mlcslm.formats.stm import write_stm
from mlcslm.scoring import speaker_wer
from mlcslm.scoring.error_counts import ErrorCounts
from mlcslm.scoring.files import score_transcript_files
from mlcslm.scoring.speaker_wer import score_cp, score_orc
from mlcslm.scoring.tcpwer import RecordingWords, score_tcp, time_recording
from mlcslm.scoring.transcripts import TranscriptTask, score_transcript, score_transcripts
from mlcslm.scoring.word_timing import character_intervals
from mlcslm.text.protocols import get_protocol

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
GROUPS = read_languages(LANGUAGES)
PROTOCOL = get_protocol("mlcslm-2025")


@st.composite
def sessions(draw: st.DrawFn) -> tuple[list[Utterance], list[Utterance]]:
    """Few words and times on a grid, so that ties are everywhere; dense ones, and ones with long silences."""
    last = draw(st.sampled_from([8, 40, 160]))
    times, words = st.integers(0, 2 * last).map(lambda step: step / 2), st.sampled_from(["a", "bb", "ccc"])
    sides = []
    for speakers, least, most in ((2, 1, 14), (3, 0, 14)):
        spoken = []
        for _ in range(draw(st.integers(least, most))):
            start, length = draw(times), draw(st.integers(0, 12)) / 2
            text = " ".join(draw(st.lists(words, max_size=5)))
            speaker = f"s{draw(st.integers(1, speakers))}"
            spoken.append(Utterance("American_1", speaker, start, start + length, text))
        sides.append(spoken)
    return sides[0], sides[1]


def to_stm(spoken: list[Utterance]) -> STM:
    """What meeteval's command line reads: times as decimal numbers."""
    return STM.parse("".join(f"{u.recording} 1 {u.speaker} {u.start!r} {u.end!r} {u.text}\n" for u in spoken))


def timed(reference: list[Utterance], hypothesis: list[Utterance]) -> RecordingWords:
    return time_recording(reference, hypothesis, GROUPS["English-American"], PROTOCOL)


@settings(max_examples=250, deadline=None)
@given(sessions())
@pytest.mark.slow
def test_counts_and_pairs_as_meeteval(session: tuple[list[Utterance], list[Utterance]]):
    reference, hypothesis = session
    recording, stm = timed(*session), (to_stm(reference), to_stm(hypothesis))
    tcp = score_tcp(recording)
    expected = tcp_word_error_rate(*stm, collar=5)
    assert tcp.counts == ErrorCounts(
        expected.errors, expected.length, expected.insertions, expected.deletions, expected.substitutions
    )
    assert tcp.pairing == expected.assignment
    assert score_cp(recording).errors == cp_word_error_rate(*stm).errors
    orc = score_orc(recording, tcp)
    assert orc.exact and orc.errors <= tcp.counts.errors
    if any(u.text for u in reference):  # without any word meeteval's own check of its result fails
        assert orc.errors == time_constrained_orc_wer(*stm, collar=5).errors


@settings(max_examples=100, deadline=None)
@given(sessions(), st.sampled_from([0, 1, 30, 1000]))
@pytest.mark.slow
def test_a_search_cut_short_finds_no_less_and_never_more_than_tcpwer(
    session: tuple[list[Utterance], list[Utterance]], states: int
):
    recording = timed(*session)
    tcp = score_tcp(recording)
    best = score_orc(recording, tcp)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speaker_wer, "MAX_STATES", states)
        found = score_orc(recording, tcp)
    assert best.errors <= found.errors <= tcp.counts.errors
    assert found.errors == best.errors or not found.exact


def conversation(seed: int, recording: str, tokens: int) -> tuple[list[Utterance], list[Utterance]]:
    """A conversation of two with overlaps, and a hypothesis with wrong words, speakers, boundaries and lost parts."""
    rng = random.Random(seed)
    words = [f"w{number}" for number in range(60)]
    reference, hypothesis, time, speaker, count = [], [], 0.0, 1, 0
    while count < tokens:
        text = rng.choices(words, k=rng.randint(1, 18))
        length = len(text) / rng.uniform(2.5, 4)
        reference.append(Utterance(recording, f"O{speaker}", round(time, 2), round(time + length, 2), " ".join(text)))
        if rng.random() < 0.93:
            heard = [word if rng.random() < 0.7 else rng.choice(words) for word in text if rng.random() < 0.95]
            start, name = max(0.0, time + rng.uniform(-0.4, 0.4)), speaker if rng.random() < 0.9 else rng.randint(1, 3)
            end = start + length + rng.random()
            hypothesis.append(Utterance(recording, f"s{name}", round(start, 3), round(end, 3), " ".join(heard)))
        time += length + rng.choice([-0.5, 0.1, 0.6, 4, 15])
        time, speaker, count = max(time, 0.0), rng.choice([speaker, 3 - speaker]), count + len(text)
    return reference, hypothesis


@pytest.mark.slow
def test_agrees_with_the_command_line(tmp_path: Path):
    names = ["American_0517_007", "French_1", "French_2", "German_9"]
    reference, hypothesis = [], []
    for seed, name in enumerate(names):
        sides = conversation(seed, name, 900)
        reference += sides[0]
        hypothesis += sides[1]
    write_stm(tmp_path / "ref.stm", reference)
    write_stm(tmp_path / "hyp.stm", hypothesis)
    command = [str(Path(sys.executable).with_name("meeteval-wer")), "tcpwer", "-r", "ref.stm", "-h", "hyp.stm"]
    subprocess.run([*command, "--collar", "5"], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    scores = score_transcript_files(tmp_path / "ref.stm", tmp_path / "hyp.stm", "mlcslm-2025", LANGUAGES, jobs=2)
    average = json.loads((tmp_path / "hyp_tcpwer.json").read_text())
    by_recording = json.loads((tmp_path / "hyp_tcpwer_per_reco.json").read_text())
    keys = ("errors", "length", "insertions", "deletions", "substitutions")
    assert {key: scores[key] for key in keys} == {key: average[key] for key in keys}
    assert scores["error_rate"] == average["error_rate"]
    assert list(scores["sessions"]) == list(by_recording) == names
    for name in names:
        assert {key: scores["sessions"][name][key] for key in keys} == {key: by_recording[name][key] for key in keys}
    assert scores["groups"]["French"]["errors"] == sum(by_recording[name]["errors"] for name in names[1:3])


def test_what_one_side_lacks():
    reference = [Utterance("Thai_1", "O1", 0, 2, "ก ok"), Utterance("Thai_1", "O2", 2, 3, "")]
    task = TranscriptTask(reference, [], GROUPS["Thai"], PROTOCOL)
    errors = score_transcript(task)
    assert errors.tcp == ErrorCounts(2, 2, 0, 2, 0)
    assert (errors.cp, errors.orc) == (2, 2)
    nothing_said = [Utterance("Thai_1", "O1", 0, 2, "...")]
    errors = score_transcript(TranscriptTask(nothing_said, reference, GROUPS["Thai"], PROTOCOL))
    assert errors.tcp == ErrorCounts(2, 0, 2, 0, 0)
    assert (errors.cp, errors.orc) == (2, 2)


def test_protocol_makes_the_tokens():
    reference = [Utterance("Thai_1", "O1", 0, 4, "ก, ข? OK"), Utterance("Thai_1", "O2", 5, 6, "ค")]
    hypothesis = [Utterance("Thai_1", "x", 0, 6, "กขOK ค")]
    errors = score_transcript(TranscriptTask(reference, hypothesis, GROUPS["Thai"], PROTOCOL))
    # ก ข ok | ค against ก ข OK ค: capitals stay in hypotheses, and one speaker has said what two did.
    assert errors.tcp == ErrorCounts(3, 4, 1, 1, 1)
    normalised = get_protocol("mlcslm-2025", normalise_hypothesis=True)
    assert score_transcript(TranscriptTask(reference, hypothesis, GROUPS["Thai"], normalised)).tcp.errors == 2


def test_any_number_of_processes_gives_the_same():
    sides = {f"French_{seed}": conversation(seed, f"French_{seed}", 200) for seed in range(5)}
    references = {name: side[0] for name, side in sides.items()}
    hypotheses = {name: side[1] for name, side in sides.items() if name != "French_3"}
    groups = dict.fromkeys(references, GROUPS["French"])
    one = score_transcripts(references, hypotheses, groups, PROTOCOL, jobs=1)
    assert list(one.items()) == list(score_transcripts(references, hypotheses, groups, PROTOCOL, jobs=3).items())
    assert one["French_3"].tcp.deletions == one["French_3"].tcp.length > 0


def test_times_that_meet_do_not_overlap():
    # The second word begins at 5.3, where the first one's collar ends: 0.3 + 5 is 5.3 in decimal numbers alone.
    assert character_intervals(0.1, 0.4, [2, 1])[1][0] == character_intervals(0.3, 1.0, [1])[0][0]
    for start, errors in ((5.3, 2), (5.29, 0)):
        reference = [Utterance("French_1", "O1", start, start + 1, "a")]
        hypothesis = [Utterance("French_1", "x", 0.1, 0.5, "a")]
        task = TranscriptTask(reference, hypothesis, GROUPS["French"], PROTOCOL)
        assert score_transcript(task).tcp.errors == errors
