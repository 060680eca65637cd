"""The presets: valid, separate from each other, and as the documentation describes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlcslm.config.paper_tables import read_paper_tables, rows_for
from mlcslm.config.reading import read_config
from mlcslm.config.schema import Config
from mlcslm.config.stages import StageConfig
from mlcslm.workflow.layout import Layout

REPOSITORY = Path(__file__).parents[2]
# Other files there are tables, or hold only differences from a preset.
PRESETS = sorted(path for path in (REPOSITORY / "config").glob("*.yaml") if "\nstages:" in path.read_text("utf-8"))


def read_preset(name: str) -> Config:
    return read_config(REPOSITORY / "config" / f"{name}.yaml")


def test_presets_are_found() -> None:
    assert {"demo.yaml", "small.yaml", "paper.yaml"} <= {path.name for path in PRESETS}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.name)
def test_preset_is_valid_and_decodes_what_table_6_measures(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    config = read_config(path)
    assert config.preset == path.stem
    measured = Layout(config).measured("table6")
    assert {"baseline-2", "ckpt-4000", "ckpt-7000"} <= {checkpoint for checkpoint, _, _ in measured}
    assert {decoding for _, decoding, _ in measured} <= set(config.decodings)


def test_presets_write_into_separate_folders() -> None:
    folders = [read_config(path).results for path in PRESETS]
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.name)
def test_preset_sets_rates_only_for_parts_that_train(path: Path) -> None:
    for name, stage in read_config(path).stages.items():
        assert set(stage.part_learning_rates) <= set(stage.trains), name


def rates(stage: StageConfig) -> str:
    """A stage's cell in docs/paper.md: steps × utterances per step, rate, rates of parts that differ."""
    others = "".join(f", {part} {rate:g}" for part, rate in stage.part_learning_rates.items())
    return f"{stage.steps} × {stage.batch_size * stage.accumulation}, {stage.learning_rate:g}{others}"


@pytest.mark.parametrize("name", ["demo", "small", "paper"])
def test_presets_have_every_row_of_the_paper(name: str) -> None:
    config = read_preset(name)
    tables = read_paper_tables(config.tables)
    for table, rows in zip(sorted(tables), (5, 7, 3, 9, 4, 6, 4), strict=True):
        assert len(rows_for(tables[table], config.stages, config.decodings, config.diarizers)) == rows, table


@pytest.mark.parametrize("name", read_preset("small").stages)
def test_documented_stages_are_those_of_the_presets(name: str) -> None:
    demo, small, paper = (read_preset(preset).stages[name] for preset in ("demo", "small", "paper"))
    assert len({(stage.parent, stage.template) for stage in (demo, small, paper)}) == 1
    assert small.trains == paper.trains
    # The demo trains the encoder in one stage only, so that later ones can read its outputs from a cache.
    trained = set(demo.trains) | ({"encoder_lora"} if name != "ckpt-7000" else set())
    assert set(paper.trains) in ({*demo.trains}, trained)
    cells = [name, ", ".join(paper.trains), paper.template, *map(rates, (demo, small, paper))]
    row = f"| {' | '.join(cells)} |"
    lines = (REPOSITORY / "docs" / "paper.md").read_text("utf-8").splitlines()
    assert row in lines, f"docs/paper.md should have the line\n{row}"


def test_the_paper_preset_has_the_papers_numbers() -> None:
    """Sections 2.1, 2.3, 3.1 to 3.5, 4.1, 4.2 and 5, transcribed from the paper."""
    config = read_preset("paper")
    assert config.augmentation.probability == 0.7
    assert (config.models.lora.rank, config.models.lora.alpha) == (16, 32)
    for name in config.stages:
        if name.startswith("ckpt"):
            total = sum(config.stages[ancestor].steps for ancestor in config.lineage(name))
            assert name.split("/")[0].split("-")[1] == str(total), name
    assert config.stages["ckpt-9000"].prompt_loss_weight is None
    weight = config.stages["ckpt-10000"].prompt_loss_weight
    assert (weight.first, weight.last, weight.steps) == (1.0, 0.1, 300)
    assert config.stages["ckpt-9000-context"].context == 2
    rewarded = {name: stage for name, stage in config.stages.items() if stage.kind == "reinforcement"}
    assert len(rewarded) == 6
    for name, stage in rewarded.items():
        assert "+".join(stage.rewards) == name.split("/")[1]
        assert (stage.parent, stage.rollouts, stage.temperature) == ("ckpt-10000", 4, 0.5)
        assert stage.reward_weights == dict.fromkeys(stage.reward_weights, 0.5) | {"accuracy": 0.8}
    grid = [(d.method, d.beams, d.max_new_tokens) for n, d in config.decodings.items() if not n.startswith("greedy")]
    sampled = [("beam+sampling", beams, 150) for beams in (10, 12, 15, 8, 5, 2)]
    assert grid == [("multinomial", 1, 150), ("beam", 10, 150), *sampled, ("beam+sampling", 8, 180)]
    assert {name: diarizer.max_segment_s for name, diarizer in config.diarizers.items()}.items() >= {
        ("campplus-60", 60), ("campplus-8", 8), ("eres2net-8", 8), ("resnet101-8", 8)
    }  # fmt: skip
    assert {diarizer.vad for diarizer in config.diarizers.values()} == {"fsmn"}
    assert config.embeddings["resnet101"].corpora == ("cnceleb1", "cnceleb2", "voxblink1", "voxblink2")
