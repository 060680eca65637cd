from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from mlcslm.config.diarization import SpeakerCorpusConfig
from mlcslm.errors import UserError
from mlcslm.speaker_embedding.corpora import index_speakers
from mlcslm.speaker_embedding.voices import ConversationVoices, CorpusVoices, JoinedVoices


def write_corpus(folder: Path, speakers: dict[str, list[float]]) -> Path:
    """Utterances of the given seconds; each speaker's second one is in a subfolder. Returns the index."""
    for name, lengths in speakers.items():
        for number, seconds in enumerate(lengths):
            path = folder / name / ("deep" if number == 1 else "") / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, np.full(round(16_000 * seconds), 0.1), 16_000)
    index = folder.with_suffix(".parquet")
    index_speakers("mine", SpeakerCorpusConfig(folder=str(folder)), index)
    return index


def test_fewer_sessions_keep_all_their_speakers(voices: dict[str, Path]) -> None:
    few = ConversationVoices(voices["train"], sessions=2)
    assert {audio for utterances in few.utterances for audio, _, _ in utterances} == {
        str(voices["train"].with_name(f"train-{session}.wav")) for session in (0, 3)
    }
    assert len(few) == 4


def test_one_speaker_is_not_enough(voices: dict[str, Path], tmp_path: Path) -> None:
    table = pq.read_table(voices["train"])
    pq.write_table(table.take([0, 2, 4]), tmp_path / "one.parquet")
    with pytest.raises(UserError, match=r"one.parquet: 1 speaker\(s\) with utterances"):
        ConversationVoices(tmp_path / "one.parquet")


def test_utterances_of_a_corpus_are_those_of_its_folders(tmp_path: Path) -> None:
    made = CorpusVoices(write_corpus(tmp_path / "corpus", {"b": [1.0, 2.0], "a": [3.0]}))
    assert len(made) == 2
    rng = np.random.default_rng(1)
    places = [[made.segment(voice, 9.0, rng) for _ in range(40)] for voice in (0, 1)]
    assert set(places[0]) == {(str(tmp_path / "corpus/a/0.wav"), 0.0, 3.0)}
    # A speaker's utterances are equally likely, long or short.
    counts = Counter(places[1])
    short = (str(tmp_path / "corpus/b/0.wav"), 0.0, 1.0)
    long = (str(tmp_path / "corpus/b/deep/1.wav"), 0.0, 2.0)
    assert set(counts) == {short, long}
    assert 8 <= counts[short] <= 32


def test_a_segment_of_a_long_utterance_is_within_it(tmp_path: Path) -> None:
    made = CorpusVoices(write_corpus(tmp_path / "corpus", {"a": [3.0], "b": [3.0]}))
    places = [made.segment(0, 0.5, np.random.default_rng(seed)) for seed in range(30)]
    starts = [start for _, start, _ in places]
    assert all(end - start == pytest.approx(0.5) and 0 <= start <= 2.5 for _, start, end in places)
    assert max(starts) - min(starts) > 1
    assert made.segment(0, 0.5, np.random.default_rng(7)) == places[7]


def test_voices_of_several_sources_follow_each_other(voices: dict[str, Path], tmp_path: Path) -> None:
    first = ConversationVoices(voices["train"])
    second = CorpusVoices(write_corpus(tmp_path / "one", {"a": [1.0], "b": [1.0]}))
    third = CorpusVoices(write_corpus(tmp_path / "two", {"a": [1.0], "b": [1.0], "c": [1.0]}))
    joined = JoinedVoices([first, second, third])
    assert len(joined) == 12 + 2 + 3

    def path(voice: int) -> str:
        return joined.segment(voice, 9.0, np.random.default_rng(0))[0]

    assert path(11) == first.utterances[11][0][0]
    assert [path(voice) for voice in range(12, 17)] == [
        str(tmp_path / name / "0.wav") for name in ("one/a", "one/b", "two/a", "two/b", "two/c")
    ]
