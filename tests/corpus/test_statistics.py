"""Statistics of a small corpus, computed by hand, and one outlier of each kind."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mlcslm.corpus.manifest import SCHEMA
from mlcslm.corpus.samples import SILENCE_DB, Samples
from mlcslm.corpus.statistics import corpus_statistics


def row(start: float, text: str | None = "ten letters", speaker: str = "O1", session: str = "French_a", **values: Any):
    """An utterance of a second, of ten characters."""
    usual = {"utterance_id": f"{session}-{speaker}-{start:g}", "session_id": session, "grp": "French"}
    usual |= {"speaker": speaker, "turn": 0, "start": start, "end": start + 1.0, "audio": f"{session}.wav"}
    return usual | {"sample_rate": 8000, "text": text} | values


def table(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def outliers(*rows: dict[str, Any], levels: list[int] | None = None, **others: pa.Table) -> list[tuple[str, ...]]:
    samples = {"French_a.wav": Samples(1.0, np.array(levels or [], np.int8), np.zeros(len(levels or []), np.int32))}
    return [(one.why, *one.names) for one in corpus_statistics(table(*rows), samples, others).outliers]


def test_a_group_s_numbers() -> None:
    levels = np.array([-20] * 30 + [-70] * 10, np.int8)
    clipped = np.array([80] + [0] * 39, np.int32)
    rows = table(row(0), row(1, speaker="O2", end=3.0), row(3, "Да", end=4.0))
    found = corpus_statistics(rows, {"French_a.wav": Samples(1.0, levels, clipped)})
    (group,) = found.groups
    assert (group.group, group.sessions, group.speakers, group.utterances) == ("French", 1, 2, 3)
    assert group.recorded_h == pytest.approx(4 / 3600) and group.speech_h == pytest.approx(4 / 3600)
    assert group.silence == 0.25 and group.clipping == pytest.approx(80 / 32000)
    assert group.seconds == (1.0, 1.0, 2.0)
    assert group.characters_a_second[1] == 5.0  # of 10, 5 and 2
    assert group.scripts == {"Latin": 20 / 22, "Cyrillic": 2 / 22}
    assert json.loads(json.dumps(found.as_json()))["groups"][0]["scripts"] == group.scripts


def test_rates_far_from_the_others_stand_out() -> None:
    usual = [row(number, "ten letters" + "x" * (number % 3)) for number in range(40)]
    assert outliers(*usual) == []
    found = outliers(*usual, row(50, "word " * 40), row(60, "oh", end=70.0), row(80, "oh", end=80.3))
    assert found == [("characters per second", "French_a-O1-50"), ("characters per second", "French_a-O1-60")]


def test_what_nobody_can_say_stands_out_however_short_or_rare() -> None:
    """Sixty letters in a fifth of a second: times that were lost, whatever the others are."""
    many = "x" * 60
    found = [("characters per second", "French_a-O1-50")]
    assert outliers(row(0), row(50, many, end=50.2), row(60, "yes, I know", end=60.2)) == found
    usual = [row(number, "ten letters" + "x" * (number % 3)) for number in range(40)]
    assert outliers(*usual, row(50, many, end=50.2), row(60, "yes, I know", end=60.2)) == found


def test_another_script_stands_out() -> None:
    found = outliers(*[row(number, f"{'abcdefghij'[number]} sentence of it") for number in range(10)], row(20, "да"))
    assert found == [("script", "French_a-O1-20")]


def test_the_same_sentence_at_both_speakers_stands_out() -> None:
    found = outliers(
        row(0, "We went there, yes."), row(2, "we went there yes", "O2"), row(4, "yes"), row(5, "yes", "O2")
    )
    assert found == [("same sentence by both speakers", "French_a-O1-0", "French_a-O2-2")]
    assert outliers(row(0, "We went there, yes."), row(2, "we went there yes")) == []


def test_silent_clipped_and_long_utterances_stand_out() -> None:
    assert outliers(row(0), row(1), levels=[-20] * 10 + [SILENCE_DB] * 10) == [("silent utterance", "French_a-O1-1")]
    assert outliers(row(0, end=30.5)) == [("longer than the encoder window", "French_a-O1-0")]
    levels, clipped = np.full(20, -3, np.int8), np.array([0] * 10 + [10] * 10, np.int32)
    (found,) = corpus_statistics(table(row(0), row(1)), {"French_a.wav": Samples(1.0, levels, clipped)}).outliers
    assert (found.why, found.names, found.found) == ("clipped utterance", ("French_a-O1-1",), "1.2 % at full scale")


def test_a_session_in_two_splits_stands_out_by_its_name_or_by_what_is_said() -> None:
    here = [row(number, f"sentence {number}") for number in range(4)]
    renamed = [one | {"session_id": "French_b"} for one in here]
    unlike = [row(number, f"another {number}", session="French_c") for number in range(4)]
    assert outliers(*here, train=table(*unlike)) == []
    assert outliers(*here, train=table(*renamed, *unlike)) == [("session in two splits", "French_a")]
    assert outliers(*here, train=table(row(9, session="FRENCH_A"))) == [("session in two splits", "French_a")]


def test_a_manifest_without_recordings_or_texts_has_statistics() -> None:
    (group,) = corpus_statistics(table(row(0, None)), {}).groups
    assert (group.recorded_h, group.silence, group.clipping, group.scripts) == (0.0, 0.0, 0.0, {})


def test_an_empty_manifest_has_none() -> None:
    assert corpus_statistics(table(), {}).as_json() == {"groups": [], "outliers": []}
