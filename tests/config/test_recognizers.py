"""Ready recognisers in the configuration: names, rows of tables, and what is left out for lack of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlcslm.config.reading import parse_config, read_config_files
from mlcslm.errors import FaultyInput
from mlcslm.workflow.layout import Layout

REPOSITORY = Path(__file__).parents[2]
STAGE = {"parent": "foundation", "trains": ["projector"], "template": "plain", "steps": 1}
VALUES: dict[str, Any] = {
    "languages": str(REPOSITORY / "config" / "languages.tsv"),
    "tables": str(REPOSITORY / "config" / "tables-evaluate.yaml"),
    "results": "made",
    "corpus": {"kind": "folder", "folders": {"dev": "calls"}},
    "recognizers": {"base": {"model": "openai/whisper-base"}, "wide": {"model": "m", "decoding": {"beams": 5}}},
    "embeddings": {"campplus": {"network": "campplus", "checkpoint": "models/campplus"}},
    "diarizers": {"silero": {"embedding": "campplus", "asr": {"recognizer": "base"}}},
}


def faults_of(**changes: Any) -> str:
    with pytest.raises(FaultyInput) as error:
        parse_config(VALUES | changes)
    return str(error.value)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the names of a model's files; the hub's cache is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "preprocessor_config.json"):
        (folder / name).touch()
    return folder


def test_nothing_needs_to_be_trained() -> None:
    config = parse_config(VALUES)
    assert config.decoded == [("base", "greedy"), ("wide", "beam-5")]
    assert config.transcriber("silero") == ("base", "greedy")
    made = Layout(config, whole=True)
    assert made.measured_tables() == ["table6", "table7"]
    assert made.measured("table6") == [("base", "greedy", "dev"), ("wide", "beam-5", "dev")]
    assert made.measured("table7") == [("base", "greedy", "dev")]
    names = ("table6.csv", "table7.csv", "systems.csv", "tcpmer.csv")
    assert made.targets() == [*(f"made/tables/{name}" for name in names), "made/report/index.html"]
    assert made.hypotheses("wide", "beam-5", "dev") == Path("made/hypotheses/wide/beam-5/dev.parquet")


def test_recognisers_stand_beside_what_is_trained() -> None:
    changes = {
        "stages": {"ckpt-4000": STAGE},
        "decodings": {"greedy": {}},
        "models": {"encoder": "e", "language_model": "l"},
        "corpus": {"kind": "folder", "folders": {"train": "t", "dev": "d", "test": "e"}},
        "tables": str(REPOSITORY / "config" / "tables.yaml"),
    }
    made = Layout(parse_config(VALUES | changes), whole=True)
    rows = made.tables["table6"].rows[-2:]
    assert [row.labels["checkpoint"] for row in rows] == ["base", "wide"]
    assert all(row.note is not None and row.note.startswith("not in the paper: ") for row in rows)
    assert not any(row.published for row in rows)
    systems = dict.fromkeys(pair[:2] for pair in made.measured("table6"))
    assert list(systems) == [("ckpt-4000", "greedy"), ("base", "greedy"), ("wide", "beam-5")]
    assert made.targets() == [f"made/tables/{name}.csv" for name in made.measured_tables()]


def test_a_recogniser_in_the_systems_place_is_submitted_like_any(tmp_path: Path) -> None:
    made = Layout(parse_config(VALUES), whole=True)
    assert made.submitting(1) == ["base/greedy", "wide/beam-5"]
    assert made.submission_inputs("wide/beam-5", "dev", 1) == ["made/hypotheses/wide/beam-5/dev/all.parquet"]


def test_a_missing_model_drops_its_rows_and_its_diarizers_with_a_notice(model: Path) -> None:
    config = parse_config(VALUES | {"recognizers": {"base": {"model": "no/model"}, "here": {"model": str(model)}}})
    made = Layout(config)
    assert list(made.measurable.recognizers) == ["here"]
    assert not made.measurable.diarizers
    notice = "\n".join(made.notices())
    assert "1 of 1 diarizers, silero; 1 of 2 recognizers, base" in notice
    assert "recognizers.base.model = no/model: a speech recogniser, `hf download no/model`" in notice
    assert "table6 is made of 1 of its 2 rows" in notice
    assert made.measured_tables() == ["table6"]


def test_a_folder_that_lacks_a_file_drops_its_rows_too(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    made = Layout(parse_config(VALUES | {"recognizers": {"base": {"model": str(model)}}}))
    assert not made.measurable.recognizers
    assert "this folder lacks tokenizer.json or" in "\n".join(made.notices())


def test_a_model_is_not_needed_for_what_it_has_transcribed_before(model: Path) -> None:
    made = Layout(parse_config(VALUES | {"diarizers": {}, "recognizers": {"base": {"model": "no/model"}}}))
    hypotheses = made.hypotheses("base", "greedy", "dev")
    hypotheses.parent.mkdir(parents=True)
    hypotheses.touch()
    assert list(made.measurable.recognizers) == ["base"]
    assert not made.notices()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"recognizers": {}, "diarizers": {}}, "expected stages, recognizers or systems"),
        ({"stages": {"a": STAGE}}, "models.encoder: required, as there are stages"),
        ({"stages": {"silero": STAGE}}, "models.encoder"),
        ({"recognizers": {"silero": {"model": "m"}}, "diarizers": {}, "stages": {}}, None),
        (
            {"diarizers": {"base": {"embedding": "campplus", "asr": {"recognizer": "base"}}}},
            "recognizers.base: a diarizer",
        ),
        ({"diarizers": {"d": {"embedding": "campplus", "asr": {"recognizer": "x"}}}}, "expected one of base, wide"),
        ({"diarizers": {"d": {"embedding": "campplus", "asr": {}}}}, "expected checkpoint and decoding, or recognizer"),
        ({"recognizers": {"base": {"model": "m", "kind": "siri"}}, "diarizers": {}}, "recognizers.base.kind"),
        ({"corpus": {"kind": "folder", "folders": {"test": "t"}}}, "folders lacks dev"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, Any], expected: str | None) -> None:
    if expected is None:
        parse_config(VALUES | changes)
    else:
        assert expected in faults_of(**changes)


def test_the_evaluation_preset_needs_only_a_folder(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("corpus: {folders: {dev: calls}}\nrecognizers: {whisper-base-language-found: null}\n")
    config = read_config_files([REPOSITORY / "config" / "evaluate.yaml", mine])
    assert list(config.recognizers) == ["whisper-base"]
    assert config.corpus.splits == ("dev",)
    assert not config.stages
