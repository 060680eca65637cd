"""Table 4's decodings through Snakemake: one job for all, and for one that changes no more than that one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
CHECKPOINT = "ckpt-2000"
DECODINGS = {
    "multinomial-150": {"method": "multinomial", "max_new_tokens": 12},
    "beam-10-150": {"method": "beam", "beams": 3, "max_new_tokens": 12},
    "beam-sampling-2-150": {"method": "beam+sampling", "beams": 2, "max_new_tokens": 12},
}


@pytest.fixture(scope="module")
def grid(toy_config: dict[str, Any], make_toy: type, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Three decodings of a checkpoint, scored, as Table 4 asks for them."""
    root = tmp_path_factory.mktemp("grid")
    tables = (REPOSITORY / "config" / "tables.yaml").read_text(encoding="utf-8")
    best = re.search(r"checkpoint: (\S+), decoding: beam-10-150", tables)
    (root / "tables.yaml").write_text(tables.replace(best[1], CHECKPOINT), encoding="utf-8")
    sections = {"tables": str(root / "tables.yaml"), "decodings": DECODINGS, "reasoning": {}}
    toy = make_toy(root, toy_config | sections | {"stages": {CHECKPOINT: toy_config["stages"][CHECKPOINT]}})
    toy.run(*scores(toy))
    return toy


def scores(toy: Any) -> list[Path]:
    return [toy.results / "scores" / CHECKPOINT / name / "dev.parquet" for name in DECODINGS]


def hypotheses(toy: Any, name: str) -> list[dict]:
    path = toy.results / "hypotheses" / CHECKPOINT / name / "dev.parquet"
    return pq.read_table(path).drop_columns("seconds").to_pylist()


def logs(toy: Any) -> list[str]:
    return [path.read_text() for path in (toy.results / "logs" / "decode").rglob("*.log")]


def test_the_first_jobs_run_all_of_them_and_the_others_take_what_they_made(grid: Any) -> None:
    """Two jobs at a time share three decodings: the third has none left."""
    said = logs(grid)
    assert len(said) == 3
    for label in ("multinomial up to 12", "beam 3 up to 12", "beam+sampling 2 up to 12"):
        assert sum(f"decoding {CHECKPOINT} dev, {label}: 100%" in log for log in said) == 1
    assert any("decoding" not in log for log in said)
    assert {path.suffix for path in (grid.results / "work" / "decoding").rglob("*") if path.is_file()} == {".lock"}
    assert grid.planned(*scores(grid)) == {}


def test_a_change_of_one_decoding_reruns_it_alone(grid: Any, tmp_path: Path) -> None:
    """And alone it gives what it gives among others."""
    among_others = hypotheses(grid, "beam-10-150")
    before = [path.stat().st_mtime_ns for path in scores(grid)]
    toy = grid.changed({"decodings.beam-10-150.max_new_tokens": 9})
    assert toy.planned(*scores(toy)) == {"decode": 1, "merge_hypotheses": 1, "score": 1}
    toy.run(*scores(toy))
    assert sum(f"decoding {CHECKPOINT} dev, beam 3 up to 9: 100%" in log for log in logs(toy)) == 1
    after = [path.stat().st_mtime_ns for path in scores(toy)]
    assert [name for name, old, new in zip(DECODINGS, before, after, strict=True) if old != new] == ["beam-10-150"]
    assert max(row["tokens"] for row in hypotheses(toy, "beam-10-150")) <= 9
    alone = grid.copied(tmp_path).changed({"decodings": {"beam-10-150": DECODINGS["beam-10-150"]}})
    for kind in ("hypotheses", "scores"):
        shutil.rmtree(alone.results / kind / CHECKPOINT / "beam-10-150")
    alone.run(scores(alone)[1])
    assert hypotheses(alone, "beam-10-150") == among_others
