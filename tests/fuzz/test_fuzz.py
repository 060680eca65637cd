"""A short fuzz of every reader: nothing but UserError, and no hang. `run_fuzz.py` is the long one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from readers import READERS, TOKENS, Reader, Report, fuzz, try_input


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_mutated_files_are_read_or_refused(reader: Reader) -> None:
    report = fuzz(reader, 100, seed=0)
    assert report.failures == {}
    assert 0 < report.refused <= report.inputs == 100


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_files_of_any_pieces_are_read_or_refused(reader: Reader, tmp_path: Path) -> None:
    fields = [field for seed in reader.seeds for field in seed.split()]
    pieces = st.one_of(st.sampled_from([*TOKENS, *fields, b" ", b"\n", b"\t"]), st.binary(max_size=4))

    @settings(
        max_examples=20, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.lists(pieces, max_size=30).map(b"".join))
    def check(content: bytes) -> None:
        report = Report()
        try_input(reader, content, tmp_path, report)
        assert report.failures == {}

    check()


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_seeds_are_read(reader: Reader, tmp_path: Path) -> None:
    report = Report()
    for seed in reader.seeds:
        try_input(reader, seed, tmp_path, report)
    assert report.failures == {}
    assert report.refused == 0


def test_the_fuzz_detects_failures(tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        path.read_bytes().decode("utf-8")

    report = fuzz(Reader("x", fails, (b"abc def",)), 200, seed=0)
    assert any(raised.startswith("UnicodeDecodeError") for raised in report.failures)


def test_the_fuzz_detects_what_is_written_elsewhere(tmp_path: Path) -> None:
    def writes(path: Path) -> None:
        name = path.read_bytes()[:2].decode("latin-1")
        if name in ("..", "~/"):
            (path.parent.parent if name == ".." else Path.home()).joinpath("new").write_text("x")

    for beginning, why in ((b"../x", "touched above, above/new"), (b"~/x", "touched home, home/new")):
        assert why in fuzz(Reader("x", writes, (beginning,)), 50, seed=0).failures
    assert fuzz(Reader("x", Path.read_bytes, (b"../x",)), 50, seed=0).failures == {}
