"""The presets: valid, apart from each other, and what the documents say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcslm.config import Config, read_config
from mlcslm.config_stages import StageConfig
from mlcslm.results.paper_tables import read_paper_tables, rows_for
from mlcslm.workflow import Layout

REPOSITORY = Path(__file__).parents[1]
PRESETS = sorted(path for path in (REPOSITORY / "config").glob("*.yaml") if path.name != "tables.yaml")


def read_preset(name: str) -> Config:
    return read_config(REPOSITORY / "config" / f"{name}.yaml")


def test_presets_are_found() -> None:
    assert {"demo.yaml", "small.yaml"} <= {path.name for path in PRESETS}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.name)
def test_preset_is_valid_and_decodes_what_table_6_measures(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    config = read_config(path)
    assert config.preset == path.stem
    measured = Layout(config).measured("table6")
    assert {"baseline-2", "ckpt-4000", "ckpt-7000"} <= {checkpoint for checkpoint, _, _ in measured}
    assert {decoding for _, decoding, _ in measured} <= set(config.decodings)


def test_presets_write_into_folders_of_their_own() -> None:
    folders = [read_config(path).results for path in PRESETS]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.name)
def test_preset_sets_rates_only_for_parts_that_train(path: Path) -> None:
    for name, stage in read_config(path).stages.items():
        assert set(stage.part_learning_rates) <= set(stage.trains), name


def rates(stage: StageConfig) -> str:
    """A stage's cell in docs/paper.md: steps × utterances a step, rate, other rates of parts."""
    others = "".join(f", {part} {rate:g}" for part, rate in stage.part_learning_rates.items())
    return f"{stage.steps} × {stage.batch_size * stage.accumulation}, {stage.learning_rate:g}{others}"


@pytest.mark.parametrize("name", ["demo", "small"])
def test_presets_have_every_row_of_the_paper(name: str) -> None:
    config = read_preset(name)
    for table, rows in (("table1", 5), ("table2", 7), ("table6", 6)):
        assert len(rows_for(read_paper_tables(config.tables)[table], config.stages, config.decodings)) == rows


@pytest.mark.parametrize("name", read_preset("small").stages)
def test_documented_stages_are_those_of_the_presets(name: str) -> None:
    demo, small = (read_preset(preset).stages[name] for preset in ("demo", "small"))
    assert (demo.parent, demo.trains, demo.template) == (small.parent, small.trains, small.template)
    row = f"| {name} | {', '.join(demo.trains)} | {demo.template} | {rates(demo)} | {rates(small)} |"
    lines = (REPOSITORY / "docs" / "paper.md").read_text("utf-8").splitlines()
    assert row in lines, f"docs/paper.md should have the line\n{row}"
