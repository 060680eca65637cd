"""What stages of template "reasoning" are trained on."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="session")
def reasoning(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reflections on the tone corpus, each of whose hypotheses has its first word wrong and the second missing."""
    from mlcslm.text.reflection import write_reflection

    rows = []
    for row in pq.read_table(tones).to_pylist():
        first, *others = row["text"].split()
        hypothesis = " ".join(["yes" if first == "no" else "no", *others[1:]])
        think = write_reflection(hypothesis, row["text"], "word", longest=6)
        rows.append({"utterance_id": row["utterance_id"], "hypothesis": hypothesis, "think": think})
    path = tmp_path_factory.mktemp("reasoning") / "reasoning.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
