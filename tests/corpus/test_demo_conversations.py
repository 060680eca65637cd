"""The demo corpus: audio matches the transcripts, dev and test do not leak into train, output is reproducible."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mlcslm.config.languages import Group, read_languages
from mlcslm.config.schema import DemoCorpusConfig, DemoGaps
from mlcslm.corpus.audio import read_audio, read_header, read_segment
from mlcslm.corpus.demo.conversations import Script, first_samples, mix, write_demo_corpus, write_script
from mlcslm.corpus.demo.grammar import load_grammar, split_of
from mlcslm.corpus.demo.synthesis import SAMPLE_RATE, Voice, speak_many
from mlcslm.corpus.demo.voices import VARIANTS
from mlcslm.corpus.layout import find_sessions, read_transcript
from mlcslm.corpus.manifest import build_manifest, read_corpus

SHEET = Path(__file__).parents[2] / "config" / "languages.tsv"
SIZE = DemoCorpusConfig(
    train_sessions=2, dev_sessions=1, test_sessions=1, turns_per_session=6, noises=2, room_responses=2
)
SPLITS = ("train", "dev", "test")
NAMES = ("English-Indian", "Japanese", "French")


@pytest.fixture(scope="module")
def groups() -> dict[str, Group]:
    languages_table = read_languages(SHEET)
    return {name: languages_table[name] for name in NAMES}


@pytest.fixture(scope="module")
def corpus(groups: dict[str, Group], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "corpus"
    write_demo_corpus(root, SIZE, groups, seed=17, workers=2)
    return root


def contents(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_writing_again_gives_the_same_bytes(corpus: Path, groups: dict[str, Group], tmp_path: Path) -> None:
    write_demo_corpus(tmp_path / "again", SIZE, groups, seed=17, workers=1)
    assert contents(tmp_path / "again") == contents(corpus)


def test_another_seed_says_other_things(corpus: Path, groups: dict[str, Group]) -> None:
    french = groups["French"]
    assert write_script(french, "dev", 0, 6, seed=17) == write_script(french, "dev", 0, 6, seed=17)
    other = write_script(french, "dev", 0, 6, seed=18)
    assert other.turns != write_script(french, "dev", 0, 6, seed=17).turns
    assert write_script(french, "dev", 1, 6, seed=17).turns != write_script(french, "dev", 0, 6, seed=17).turns


@pytest.mark.slow
def test_a_smaller_corpus_has_nothing_left_of_the_one_before(groups: dict[str, Group], tmp_path: Path) -> None:
    one = {"French": groups["French"]}
    small = SIZE.model_copy(update={"train_sessions": 1, "turns_per_session": 2, "noises": 1})
    write_demo_corpus(tmp_path / "changed", SIZE.model_copy(update={"turns_per_session": 2}), groups, seed=1, workers=2)
    write_demo_corpus(tmp_path / "changed", small, one, seed=2, workers=2)
    write_demo_corpus(tmp_path / "fresh", small, one, seed=2, workers=2)
    assert contents(tmp_path / "changed") == contents(tmp_path / "fresh")


def test_the_reader_of_real_corpora_finds_no_fault(corpus: Path, groups: dict[str, Group]) -> None:
    for split, sessions in (("train", 2), ("dev", 1), ("test", 1)):
        table, faults = build_manifest(corpus / split, groups)
        assert not faults
        assert len(set(table["session_id"].to_pylist())) == sessions * len(groups)
        assert table.num_rows == 6 * sessions * len(groups)
        assert set(table["sample_rate"].to_pylist()) == {16_000}
    # The challenge's training set has a folder level more than its dev and test sets.
    assert all(path.parent.parent.name in ("Indian", "Japanese", "French") for path in corpus.glob("train/**/*.wav"))
    assert all(path.parent.name in ("Indian", "Japanese", "French") for path in corpus.glob("dev/**/*.wav"))


def test_voices_that_are_off_centre_are_nobodys_fault(corpus: Path, groups: dict[str, Group], tmp_path: Path) -> None:
    """As seven recordings of the demo are; the same recordings elsewhere are reported as anyone's."""
    shutil.copytree(corpus, tmp_path / "demo")
    moved, *_ = sorted((tmp_path / "demo" / "dev").rglob("*.wav"))
    samples, rate = soundfile.read(moved)
    soundfile.write(moved, samples + 0.03, rate)
    assert read_corpus(tmp_path / "demo" / "dev", groups).notices == []
    shutil.copytree(tmp_path / "demo" / "dev", tmp_path / "calls" / "dev")
    (notice,) = read_corpus(tmp_path / "calls" / "dev", groups).notices
    assert notice.startswith("1 recording is off centre") and moved.name in notice


def test_the_description_counts_what_is_there(corpus: Path, groups: dict[str, Group]) -> None:
    description = json.loads((corpus / "corpus.json").read_text())
    assert description["seed"] == 17
    for split in SPLITS:
        sessions, _ = find_sessions(corpus / split, groups)
        hours = sum(read_header(session.audio).duration for session in sessions) / 3600
        found = description["splits"][split]
        assert found == {
            "sessions": len(sessions),
            "utterances": 6 * len(sessions),
            "hours": pytest.approx(hours, abs=1e-3),
        }
    assert len(list((corpus / "augmentation" / "noise").glob("*.wav"))) == SIZE.noises
    assert len(list((corpus / "augmentation" / "room").glob("*.wav"))) == SIZE.room_responses


@pytest.mark.parametrize("split", SPLITS)
def test_speech_is_where_the_transcript_says(corpus: Path, groups: dict[str, Group], split: str) -> None:
    for session in find_sessions(corpus / split, groups)[0]:
        audio = read_audio(session.audio)
        spoken = np.zeros(len(audio), bool)
        for utterance in read_transcript(session.transcript):
            segment = read_segment(session.audio, utterance.start, utterance.end)
            assert level(segment) > 0.03
            # Begun and ended within 50 ms of the first and last sound; the noise floor is 0.0008.
            loud = np.flatnonzero(np.abs(segment) > 0.006)
            assert loud[0] / SAMPLE_RATE < 0.08
            assert (len(segment) - loud[-1]) / SAMPLE_RATE < 0.08
            spoken[round(utterance.start * SAMPLE_RATE) : round(utterance.end * SAMPLE_RATE)] = True
        assert level(audio[~spoken]) < 0.0012
        assert (~spoken).mean() * len(audio) / SAMPLE_RATE > 0.2


def level(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))


def timed(sessions: int, gaps: DemoGaps) -> Iterator[list[tuple[int, float, float]]]:
    """Sessions of 16 turns as (speaker, start, end), one turn in five the same speaker's, each 0.4 to 4 s long."""
    for seed in range(sessions):
        rng = np.random.default_rng(seed)
        speakers = np.cumsum(rng.random(16) > 0.2) % 2
        lengths = rng.integers(round(0.4 * SAMPLE_RATE), 4 * SAMPLE_RATE, 16)
        firsts = first_samples(speakers.tolist(), lengths.tolist(), gaps, rng)
        seconds = [
            (first / SAMPLE_RATE, (first + length) / SAMPLE_RATE) for first, length in zip(firsts, lengths, strict=True)
        ]
        yield [(int(speaker), *times) for speaker, times in zip(speakers, seconds, strict=True)]


def test_gaps_are_those_of_the_challenges_dev_set() -> None:
    """Its published ids: no overlap, median gaps of 0.14 s and 0.32 s, 14 % of the time silent."""
    changes, within, speech, whole = [], [], 0.0, 0.0
    for turns in timed(300, "conversation"):
        assert turns[0][1] >= 0.2
        for before, after in itertools.pairwise(turns):
            (changes if before[0] != after[0] else within).append(after[1] - before[2])
        speech += sum(end - start for _, start, end in turns)
        whole += turns[-1][2] - turns[0][1]
    assert min(changes + within) > -1e-6
    assert np.median(changes) == pytest.approx(0.14, abs=0.02)
    assert np.quantile(changes, 0.75) == pytest.approx(0.61, abs=0.06)
    assert np.median(within) == pytest.approx(0.32, abs=0.04)
    assert 1 - speech / whole == pytest.approx(0.14, abs=0.015)


def test_pauses_are_longer_and_some_turns_overlap() -> None:
    gaps = [b[1] - a[2] for turns in timed(150, "pauses") for a, b in itertools.pairwise(turns)]
    assert 0.05 < np.mean(np.array(gaps) < 0) < 0.11
    assert min(gaps) >= -0.41
    # 0.1 s and an exponential of 0.35 s.
    assert np.mean([gap for gap in gaps if gap > 0]) == pytest.approx(0.45, abs=0.03)
    for turns in timed(150, "pauses"):
        for speaker in (0, 1):
            own = [turn for turn in turns if turn[0] == speaker]
            assert all(before[2] < after[1] for before, after in itertools.pairwise(own))


@pytest.mark.slow
def test_one_utterance_in_nine_is_shorter_than_a_second(groups: dict[str, Group]) -> None:
    """As in the challenge's dev set: acknowledgements, each by the listener, none in the profile `pauses`."""
    french = groups["French"]
    (word,) = load_grammar("fr").acknowledgements()
    scripts = [write_script(french, "train", i, 16, seed=17) for i in range(6)]
    spoken = speak_many([[(s.voices[who], text) for who, text in s.turns] for s in scripts], workers=2)
    assert np.mean([len(audio) < SAMPLE_RATE for batch in spoken for audio in batch]) == pytest.approx(0.11, abs=0.05)
    for index in range(30):
        turns = write_script(french, "train", index, 16, seed=17).turns
        assert all(after[1] != word or after[0] != before[0] for before, after in itertools.pairwise(turns))
        assert all(text != word for _, text in write_script(french, "train", index, 16, 17, "pauses").turns)


@pytest.mark.parametrize("gaps", ["conversation", "pauses"])
def test_the_mixture_ends_after_its_last_turn(groups: dict[str, Group], gaps: DemoGaps) -> None:
    script = write_script(groups["French"], "train", 0, 16, 3, gaps)
    mixture, utterances = mix(script, [np.full(SAMPLE_RATE, 0.1, np.float32)] * len(script.turns), gaps)
    assert [u.text for u in utterances] == [text for _, text in script.turns]
    assert [u.speaker for u in utterances] == [f"O{speaker + 1}" for speaker, _ in script.turns]
    assert all(u.end - u.start == pytest.approx(1) for u in utterances)
    assert len(mixture) / SAMPLE_RATE == pytest.approx(max(u.end for u in utterances) + 0.3, abs=1e-3)


def test_overlapping_turns_are_both_heard() -> None:
    """Two tones: their sum where they overlap, each alone elsewhere."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    tones = [np.sin(2 * np.pi * pitch * time).astype(np.float32) for pitch in (300, 1700)]
    voice = Voice("fr", "f1", 50, 50, 160)
    french = read_languages(SHEET)["French"]
    for seed in range(200):
        script = Script(french, "0000_000", (voice, voice), ((0, "a"), (1, "b")), seed)
        mixture, (first, second) = mix(script, tones, "pauses")
        if second.start < first.end:
            break
    else:
        pytest.fail("no overlap in 200 sessions")

    def power(start: float, end: float, pitch: float) -> float:
        part = mixture[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        wave = np.exp(-2j * np.pi * pitch * np.arange(len(part)) / SAMPLE_RATE)
        return float(np.abs(np.mean(part * wave)))

    assert power(second.start, first.end, 300) > 0.03 < power(second.start, first.end, 1700)
    assert power(first.start, second.start, 300) > 0.03 > 0.005 > power(first.start, second.start, 1700)
    assert power(first.end, second.end, 1700) > 0.03 > 0.005 > power(first.end, second.end, 300)


def test_voices_of_a_split_are_its_own(groups: dict[str, Group]) -> None:
    for split in SPLITS:
        scripts = [write_script(group, split, i, 4, seed=17) for group in groups.values() for i in range(30)]
        used = {voice.variant for script in scripts for voice in script.voices}
        assert used <= set(VARIANTS[split])
        assert all(script.voices[0].variant != script.voices[1].variant for script in scripts)


@pytest.mark.slow
def test_sentences_of_dev_and_test_are_never_in_train(groups: dict[str, Group]) -> None:
    """Except for back-channels ("Yes, of course."), which occur in every split since they have no slot to vary."""
    for group in groups.values():
        grammar = load_grammar(group.language)
        always = {t.fill({}) for turns in grammar.exchanges for t in turns if not t.slots}
        always |= set(grammar.acknowledgements())
        said = {
            split: {
                text
                for index in range(40)
                for _, text in write_script(group, split, index, 16, seed=17).turns
                if text not in always
            }
            for split in SPLITS
        }
        assert all(len(texts) > 100 for texts in said.values())
        spelled = {split: {"".join(filter(str.isalpha, text.lower())) for text in said[split]} for split in SPLITS}
        assert not spelled["train"] & (spelled["dev"] | spelled["test"])
        assert not spelled["dev"] & spelled["test"]
        assert all(split_of(text) == split for split, texts in said.items() for text in texts)


def test_sessions_of_all_splits_have_names_of_their_own(groups: dict[str, Group]) -> None:
    names = [write_script(groups["French"], split, i, 2, seed=17).session for split in SPLITS for i in range(20)]
    assert len(set(names)) == len(names)
