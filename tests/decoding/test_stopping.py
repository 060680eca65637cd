"""A decoding that is asked to stop keeps what it has, and goes on from there."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from mlcslm.config.decoding import DecodingConfig
from mlcslm.decoding.decoder import Decoder
from mlcslm.decoding.generation import DecodingPaths, decode_split
from mlcslm.io.files import read_rows
from mlcslm.runtime.interruption import Interrupted, raises_on_request


def test_a_decoding_goes_on_after_the_batch_it_was_asked_to_stop_in(
    trained: Path, tones: Path, tmp_path: Path, languages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = DecodingConfig(max_new_tokens=20, batch_size=5)
    whole, cut = (DecodingPaths(trained, tones, tmp_path / name / "dev.parquet") for name in ("whole", "cut"))
    decode_split(whole, decoding, languages)
    decode, sizes = Decoder.decode, []

    def asked_in_the_second(self: Decoder, rows: Any) -> Any:
        sizes.append(len(rows))
        if len(sizes) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return decode(self, rows)

    monkeypatch.setattr(Decoder, "decode", asked_in_the_second)
    with pytest.raises(Interrupted) as caught, raises_on_request():
        decode_split(cut, decoding, languages)
    assert caught.value.saved == "10 of 24 hypotheses"
    assert not cut.out.exists()
    (partial,) = cut.out.parent.glob(".*.partial")
    assert len(read_rows(partial)) == 1 + 10
    decode_split(cut, decoding, languages)
    assert sizes == [5, 5, 5, 5, 4]
    found, expected = (pq.read_table(paths.out).drop_columns("seconds") for paths in (cut, whole))
    assert found.to_pylist() == expected.to_pylist()
