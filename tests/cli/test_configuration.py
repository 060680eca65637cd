"""Every command takes configurations as Snakemake does, and from any folder."""

from __future__ import annotations

import inspect
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from mlcslm.cli import compare, evaluate, plan, report, show, status
from mlcslm.cli.configuration import RESULTS, configuration, database_of, spread
from mlcslm.config.reading import read_config
from mlcslm.plan.plan import make_plan

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("--configfile a.yaml b.yml", "--configfile a.yaml --configfile b.yml"),
        ("--configfile=a.yaml b.yaml", "--configfile=a.yaml --configfile b.yaml"),
        ("--configfile a.yaml --config x=1 y=2 --json", "--configfile a.yaml --config x=1 --config y=2 --json"),
        ("--configfile a.yaml hypotheses.stm --name b", "--configfile a.yaml hypotheses.stm --name b"),
        ("--configfile a.yaml table6", "--configfile a.yaml table6"),
        ("--out a.yaml b.yaml", "--out a.yaml b.yaml"),
    ],
)
def test_one_option_before_several_files_is_the_option_before_each(typed: str, means: str) -> None:
    assert spread(typed.split()) == means.split()


def test_all_commands_that_read_a_run_share_the_option() -> None:
    commands = (compare.compare, evaluate.evaluate, plan.plan, report.report, show.show, status.status)
    annotations = {inspect.get_annotations(command)["configfile"] for command in commands}
    assert annotations == {"Configuration"}


def test_settings_alone_change_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    demo = read_config("config/demo.yaml")
    assert configuration(["seed=3"]) == demo.model_copy(update={"seed": 3})
    assert configuration(None) == demo


def test_the_database_is_the_configurations_unless_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert database_of(None, None) == RESULTS
    assert database_of(None, ["config/small.yaml", "results=mine"]) == Path("mine/results.duckdb")
    assert database_of(Path("a.duckdb"), ["config/small.yaml"]) == Path("a.duckdb")


@pytest.mark.slow
def test_presets_tables_and_models_are_the_checkouts_in_any_other_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for costs in ("Planner", "Works"):  # of what has been read, which takes seconds
        monkeypatch.setattr(f"mlcslm.plan.plan.{costs}", MagicMock())
    monkeypatch.chdir(REPOSITORY)
    here = make_plan(configuration(None))
    monkeypatch.chdir(tmp_path)
    elsewhere = make_plan(configuration(None))
    assert (elsewhere.sizes, elsewhere.jobs) == (here.sizes, here.jobs)
    assert elsewhere.throughput == here.throughput
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "languages.tsv").write_text("mine")
    assert configuration(None).languages == "config/languages.tsv"  # what is here goes before
