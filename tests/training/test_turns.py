"""Whole turns among the training examples."""

import pyarrow as pa

from mlcslm.corpus.manifest import SCHEMA
from mlcslm.training.turns import FIRST, training_manifest


def _manifest(
    *utterances: tuple[str, float, float, str | None], session: str = "American_1_1"
) -> list[dict[str, object]]:
    return [
        {
            "utterance_id": f"{session}-{speaker}-{start:g}",
            "session_id": session,
            "grp": "English-American",
            "speaker": speaker,
            "turn": turn,
            "start": start,
            "end": end,
            "audio": f"{session}.wav",
            "sample_rate": 16000,
            "text": text,
        }
        for turn, (speaker, start, end, text) in enumerate(utterances)
    ]


def _turns(rows: list[dict[str, object]], longest_s: float = 10.0) -> list[tuple[object, ...]]:
    """The rows that are added to `rows`, after checking that these themselves stay as they are."""
    table = training_manifest(pa.Table.from_pylist(rows, schema=SCHEMA), longest_s=longest_s)
    assert table.slice(0, len(rows)).drop_columns([FIRST]).to_pylist() == rows
    assert not any(table[FIRST].to_pylist()[: len(rows)])
    return [
        (row["utterance_id"], row[FIRST], row["start"], row["end"], row["text"])
        for row in table.slice(len(rows)).to_pylist()
    ]


def test_utterances_that_one_speaker_says_in_a_row_are_a_turn() -> None:
    rows = _manifest(("A", 0, 2, "Yes."), ("A", 2.5, 4, "I do."), ("B", 4.1, 5, "Good."), ("A", 6, 7, "And you?"))
    assert _turns(rows) == [("American_1_1-A-0+1", "American_1_1-A-0", 0, 4, "Yes. I do.")]


def test_turns_longer_than_the_limit_are_split_between_utterances() -> None:
    rows = _manifest(*(("A", float(second), second + 1.0, f"{second}") for second in range(5)))
    assert [turn[2:] for turn in _turns(rows, longest_s=2.0)] == [(0, 2, "0 1"), (2, 4, "2 3")]


def test_a_long_pause_ends_a_turn() -> None:
    assert _turns(_manifest(("A", 0, 1, "a"), ("A", 3.1, 4, "b"))) == []


def test_what_overlaps_or_has_no_text_is_in_no_turn() -> None:
    assert _turns(_manifest(("A", 0, 2, "a"), ("A", 2, 4, None), ("A", 4, 5, "c"))) == []
    assert _turns(_manifest(("A", 0, 2, "a"), ("A", 2, 4, "b"), ("B", 3.5, 5, "c"))) == []
    # B talks on while A says two things.
    assert _turns(_manifest(("B", 0, 9, "c"), ("A", 1, 2, "a"), ("A", 2.5, 4, "b"))) == []


def test_turns_do_not_cross_sessions() -> None:
    rows = [*_manifest(("A", 0, 2, "a")), *_manifest(("A", 2, 4, "b"), session="American_1_2")]
    assert _turns(rows) == []
