from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlcslm.config.languages import read_languages
from mlcslm.corpus.audio import read_segment
from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.layout import write_session
from mlcslm.corpus.manifest import SCHEMA, build_manifest, read_manifest, write_manifest
from mlcslm.errors import FaultyInput, UserError

LANGUAGES = read_languages(Path(__file__).parents[2] / "config" / "languages.tsv")
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "corpus.md"
TEN_SECONDS = np.zeros(80_000, np.float32)


def add(root: Path, group: str, session: str, lines: str | bytes, subfolder: str = "") -> Path:
    """A session of ten seconds at 8 kHz, its transcript as given; the path without suffix."""
    wav = write_session(root, LANGUAGES[group], session, TEN_SECONDS, 8000, [], subfolder)
    wav.with_suffix(".txt").write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    return wav.with_suffix("")


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "dev"
    add(root, "French", "0002_001", "0.29\t1.5\tO2\tOui.\n")
    add(root, "English-American", "0517_007", "3\t4\tO1\tlater\n1.15\t2\tO2\tBye\n1.15\t9\tO1\tHello\n", "0517")
    return root


def test_one_row_an_utterance_with_official_ids_in_the_documented_order(corpus):
    table, faults = build_manifest(corpus, LANGUAGES)
    assert table.schema.equals(SCHEMA)
    assert not faults
    american = f"{corpus}/English/American/0517/0517_007.wav"
    shared = ["English-American-0517_007-", "American_0517_007", "English-American", american, 8000]
    expected = [
        (f"{shared[0]}O1-000114-000900", *shared[1:3], "O1", 0, 1.15, 9.0, *shared[3:], "Hello"),
        (f"{shared[0]}O2-000114-000200", *shared[1:3], "O2", 1, 1.15, 2.0, *shared[3:], "Bye"),
        (f"{shared[0]}O1-000300-000400", *shared[1:3], "O1", 2, 3.0, 4.0, *shared[3:], "later"),
        (
            "French-0002_001-O2-000028-000150",
            *("French_0002_001", "French", "O2", 0, 0.29, 1.5),
            *(f"{corpus}/French/0002_001.wav", 8000, "Oui."),
        ),
    ]
    assert [tuple(row.values()) for row in table.to_pylist()] == expected


def test_the_audio_of_a_row_can_be_read(corpus):
    row = build_manifest(corpus, LANGUAGES)[0].to_pylist()[-1]
    assert len(read_segment(row["audio"], row["start"], row["end"])) == round(1.21 * 16000)


def test_a_test_set_without_text_has_null_texts(tmp_path):
    add(tmp_path, "Thai", "a", "0\t1\tO1\n1\t2\tO2\n")
    assert build_manifest(tmp_path, LANGUAGES)[0]["text"].to_pylist() == [None, None]


def test_a_manifest_is_written_and_read_back(corpus, tmp_path):
    table, _ = build_manifest(corpus, LANGUAGES)
    write_manifest(table, tmp_path / "manifests" / "dev.parquet")
    assert read_manifest(tmp_path / "manifests" / "dev.parquet").equals(table)


def test_the_same_corpus_gives_the_same_bytes(corpus, tmp_path):
    for name in ("one", "two"):
        write_manifest(build_manifest(corpus, LANGUAGES)[0], tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def break_everything(root: Path) -> dict[tuple[str, int | None], FaultKind]:
    """Add every kind of fault to a corpus; return them by location."""
    lines = b"-1\t1\tO1\ta\n3\t2\tO1\tb\n1\t99\tO1\tc\n1\t2\tO1\n1\t2\tO7\td\nx\t2\tO1\te\n1\t2\tO1\t\xff\n"
    lines += b"4.001\t5\tO1\tf\n4.002\t5\tO1\tg\n"
    many = str(add(root, "German", "many", lines))
    kinds = ("NEGATIVE_START", "END_BEFORE_START", "PAST_THE_END", "COLUMN_COUNT", "SPEAKER", "TIME", "ENCODING")
    faults = {(f"{many}.txt", number): FaultKind[kind] for number, kind in enumerate(kinds, start=1)}
    faults[f"{many}.txt", 9] = FaultKind.DUPLICATE_ID
    good = "0\t1\tO1\thi\n"
    truncated = add(root, "German", "truncated", good).with_suffix(".wav")
    truncated.write_bytes(truncated.read_bytes()[:1000])
    faults[str(truncated), None] = FaultKind.UNREADABLE_AUDIO
    unreadable = add(root, "German", "unreadable", "0\t1\tO5\thi\n")
    unreadable.with_suffix(".wav").write_bytes(b"noise")
    faults[f"{unreadable}.wav", None] = FaultKind.UNREADABLE_AUDIO
    faults[f"{unreadable}.txt", 1] = FaultKind.SPEAKER
    silent = add(root, "German", "silent", good).with_suffix(".wav")
    silent.unlink()
    faults[str(silent.with_suffix(".txt")), None] = FaultKind.MISSING_AUDIO
    mute = add(root, "German", "mute", good).with_suffix(".txt")
    mute.unlink()
    faults[str(mute.with_suffix(".wav")), None] = FaultKind.MISSING_TRANSCRIPT
    faults[str(add(root, "German", "empty", "")) + ".txt", None] = FaultKind.EMPTY_TRANSCRIPT
    undecodable = add(root, "German", "undecodable", good)
    for suffix in (".wav", ".txt"):
        undecodable.with_suffix(suffix).rename(undecodable.with_name(os.fsdecode(b"caf\xe9") + suffix))
    faults[f"{undecodable.parent}/caf\\xe9.wav", None] = FaultKind.SESSION_NAME
    add(root, "German", "twice", good, "one")
    faults[str(add(root, "German", "twice", good, "two")) + ".wav", None] = FaultKind.DUPLICATE_SESSION
    faults[str(add(root, "German", "deep", good, "a/b").parent), None] = FaultKind.MISPLACED_SESSION
    add(root, "German", "lost", good).parent.joinpath("lost.txt").unlink()
    faults[str(root / "German" / "lost.wav"), None] = FaultKind.MISSING_TRANSCRIPT
    (root / "Klingon").mkdir()
    (root / "Klingon" / "a.wav").write_bytes(b"")
    faults[str(root / "Klingon"), None] = FaultKind.UNKNOWN_GROUP
    return faults


def test_every_fault_is_listed_in_one_go_with_file_and_line(corpus):
    expected = break_everything(corpus)
    with pytest.raises(FaultyInput) as caught:
        build_manifest(corpus, LANGUAGES)
    places = [f"{path}:{line}: " if line else f"{path}: " for path, line in expected]
    assert len(caught.value.faults) == len(places)
    for place in places:
        assert sum(fault.startswith(place) for fault in caught.value.faults) == 1, place
    assert f"{len(places)} faults in {len({path for path, _ in expected})} files" in str(caught.value)


def test_skipping_leaves_out_the_faulty_and_nothing_else(corpus):
    expected = break_everything(corpus)
    table, faults = build_manifest(corpus, LANGUAGES, skip_faulty=True)
    assert {(fault.path, fault.line): fault.kind for fault in faults} == expected
    assert faults == sorted(faults, key=lambda fault: (fault.path, fault.line or 0))
    assert table["utterance_id"].to_pylist()[3:] == [
        "French-0002_001-O2-000028-000150",
        "German-many-O1-000400-000500",
        "German-twice-O1-000000-000100",
    ]
    assert table["text"].to_pylist()[4] == "f"
    assert table["turn"].to_pylist()[3:] == [0, 0, 0]


def test_ids_of_a_session_that_is_left_out_are_free(tmp_path):
    add(tmp_path, "French", "a", "0\t1\tO1\tx\n", "one")
    add(tmp_path, "French", "a", "0\t1\tO1\tx\n", "two")
    _, faults = build_manifest(tmp_path, LANGUAGES, skip_faulty=True)
    assert [fault.kind for fault in faults] == [FaultKind.DUPLICATE_SESSION]


@pytest.mark.parametrize("skip_faulty", [False, True])
def test_a_corpus_with_nothing_in_it_is_refused(tmp_path, skip_faulty):
    with pytest.raises(FaultyInput, match=r"contains no utterances.*English/American"):
        build_manifest(tmp_path, LANGUAGES, skip_faulty=skip_faulty)
    with pytest.raises(UserError, match="nowhere: no such folder"):
        build_manifest(tmp_path / "nowhere", LANGUAGES, skip_faulty=skip_faulty)


def test_a_corpus_of_faults_alone_is_refused_though_they_may_be_skipped(tmp_path):
    add(tmp_path, "French", "a", "")
    with pytest.raises(FaultyInput, match="no utterances remain") as caught:
        build_manifest(tmp_path, LANGUAGES, skip_faulty=True)
    assert len(caught.value.faults) == 1


def test_reading_what_is_no_manifest_is_refused(tmp_path):
    (tmp_path / "text").write_text("no parquet")
    pq.write_table(pa.table({"utterance_id": ["a"]}), tmp_path / "other")
    for name, message in [
        ("none", "no such file"),
        ("text", "not a Parquet file"),
        ("other", "lacks the columns session"),
    ]:
        with pytest.raises(UserError, match=rf"{name}: .*{message}.*mlcslm manifest"):
            read_manifest(tmp_path / name)


def test_the_documentation_describes_every_column_and_every_fault():
    text = DOCUMENTATION.read_text(encoding="utf-8")
    for name in [*SCHEMA.names, *FaultKind]:
        assert f"| `{name}` |" in text, name
