"""benchmarks/recognizers.py at toy size: both sides of the comparison transcribe the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mlcslm.decoding.hypothesis_files import rows_to_decode

REPOSITORY = Path(__file__).parents[2]


def load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(path).stem, REPOSITORY / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("language", ["told", "found"])
def test_the_pipeline_and_we_transcribe_the_same(language: str, tones: Path, languages, tmp_path: Path) -> None:
    benchmark = load("benchmarks/recognizers.py")
    model = str(load("tests/recognition/tiny_models.py").save("whisper", tmp_path / "whisper"))
    rows = rows_to_decode(tones)[::4]
    ours, theirs = (make(model, rows, languages, 2, language)() for make in (benchmark.ours, benchmark.pipeline))
    assert ours == theirs
    assert len(set(ours.values())) > 1
