"""Mutated transcripts, recordings and foreign corpora: read, or refused in words that can be printed."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlcslm.errors import UserError

sys.path.insert(0, str(Path(__file__).parent))  # --import-mode=importlib finds nothing beside a test
from corpus_readers import CORPUS_READERS

PIECES = [
    b"\t",
    b" ",
    b"\n",
    b"\r",
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\xed\xa0\xbd",
    b"\\ud83d",
    b"\x1b[2J",
]
PIECES += [
    b"-1",
    b"nan",
    b"inf",
    b"1e308",
    b"1_0",
    b"9" * 400,
    b"9" * 5000,
    b"[" * 3000,
    b"\x00\x00\x00\x80",
    b"\xff" * 4,
]
PIECES += [b"..", b"/dev/zero", b"|", b"'", b'"', b"{}", b"null", b"true", b"data", b"fmt ", b"RIFF"]


@pytest.mark.parametrize(("name", "read", "seeds"), CORPUS_READERS, ids=[name for name, *_ in CORPUS_READERS])
def test_mutated_files_are_read_or_refused(
    name: str, read: Callable[[Path], Any], seeds: Sequence[bytes], tmp_path: Path
) -> None:
    for seed in seeds:
        (tmp_path / name).write_bytes(seed)
        read(tmp_path / name)

    @settings(
        max_examples=30, deadline=5000, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        st.sampled_from(seeds),
        st.integers(0, 2**32),
        st.lists(st.sampled_from(PIECES) | st.binary(max_size=4), max_size=4),
    )
    def check(content: bytes, seed: int, pieces: list[bytes]) -> None:
        rng = random.Random(seed)
        for piece in pieces:
            # Headers are at the beginning: half of the changes are there.
            place = rng.randrange(min(len(content), rng.choice([64, len(content)])) + 1)
            content = content[:place] + piece + content[place + rng.choice([0, len(piece), 12]) :]
        (tmp_path / name).write_bytes(content)
        try:
            read(tmp_path / name)
        except UserError as refusal:
            assert all(character.isprintable() or character in " \n" for character in str(refusal))

    check()
