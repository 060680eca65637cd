"""Recipes: they name what there is, have a table, and those that ship are compared with a control."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlcslm.config.reading import parse_config, read_config_files
from mlcslm.config.schema import Config
from mlcslm.errors import FaultyInput
from mlcslm.workflow.layout import Layout

CONFIG = Path(__file__).parents[2] / "config"
STAGE = {"trains": ["projector"], "template": "plain", "steps": 1}
VALUES: dict[str, Any] = {
    "languages": str(CONFIG / "languages.tsv"),
    "tables": str(CONFIG / "tables.yaml"),
    "models": {"encoder": "e", "language_model": "l"},
    "stages": {
        "first": STAGE | {"parent": "foundation"},
        "plain": STAGE | {"parent": "first"},
        "ours": STAGE | {"parent": "first"},
        "unused": STAGE | {"parent": "first"},
    },
    "decodings": {"greedy": {}, "choosing": {"method": "consensus", "consensus": {}}},
    "recipes": {
        "plain": {"checkpoint": "plain"},
        "ours": {"checkpoint": "ours", "decoding": "choosing", "control": "plain", "note": "n"},
    },
}


def config(**recipes: dict[str, Any]) -> Config:
    return parse_config(VALUES | {"recipes": VALUES["recipes"] | recipes})


def test_recipes_are_the_rows_of_table_8() -> None:
    made = Layout(config())
    rows = made.tables["table8"].rows
    assert [(row.labels["recipe"], row.measures.system, row.note) for row in rows] == [
        ("plain", "plain/greedy", None),
        ("ours", "ours/choosing", "n"),
    ]
    assert "table8" not in Layout(parse_config(VALUES | {"recipes": {}})).tables


def test_table_8_needs_its_systems_their_oracles_and_the_cost_of_all_their_stages() -> None:
    made = Layout(config())
    splits = ("dev", "test")
    assert made.measured("table8") == [
        *(("plain", "greedy", split) for split in splits),
        *(("ours", "choosing", split) for split in splits),
    ]
    inputs = made.table_inputs("table8")
    assert inputs["oracles"] == [f"results/oracles/ours/choosing/{split}.parquet" for split in splits]
    assert inputs["costs"] == ["results/costs/stages.parquet"]
    assert made.recipe_stages() == ["first", "plain", "ours"]
    assert inputs["logs"] == [f"results/checkpoints/{name}/training_log.parquet" for name in made.recipe_stages()]


@pytest.mark.parametrize(
    ("recipe", "fault"),
    [
        ({"checkpoint": "no"}, "recipes.new.checkpoint is 'no'; expected one of first, plain, ours, unused"),
        ({"checkpoint": "unused", "decoding": "no"}, "recipes.new.decoding is 'no'; expected one of greedy, choosing"),
        ({"checkpoint": "unused", "control": "new"}, "recipes.new.control is 'new'; expected one of plain, ours"),
        ({"checkpoint": "plain"}, "is the same system as recipes"),
    ],
)
def test_what_is_not_there_is_refused(recipe: dict[str, Any], fault: str) -> None:
    with pytest.raises(FaultyInput) as caught:
        config(new=recipe)
    assert fault in str(caught.value)


def test_what_refers_to_a_removed_entry_is_named() -> None:
    changes = {"stages": VALUES["stages"] | {"ours": None}, "decodings": {"greedy": {}, "choosing": None}}
    recipes = VALUES["recipes"] | {"plain": None}
    with pytest.raises(FaultyInput) as caught:
        parse_config(VALUES | changes | {"recipes": recipes})
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "recipes.ours.checkpoint",
        "recipes.ours.decoding",
        "recipes.ours.control",
    ]


@pytest.mark.parametrize("path", sorted((CONFIG / "recipes").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_have_a_control_or_are_one(path: Path) -> None:
    """What a file adds to a preset's recipes is merged after them: `demo-reinforcement.yaml` after `demo.yaml`."""
    preset = f"{path.stem.split('-')[0]}.yaml"
    files = [CONFIG / preset, CONFIG / "controls" / preset, CONFIG / "recipes" / preset, path]
    made = read_config_files(list(dict.fromkeys(files)))
    controls = {recipe.control for recipe in made.recipes.values()}
    assert len(made.recipes) > 2
    for name, recipe in made.recipes.items():
        assert recipe.control is not None or name in controls, name
