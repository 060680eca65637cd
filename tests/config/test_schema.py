"""The configuration: what it rejects and how it says so, the tree of stages, the presets."""

from __future__ import annotations

import copy
import difflib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlcslm.config.reading import RENAMED, parse_config, read_config
from mlcslm.config.reference import render_reference
from mlcslm.config.schema import Config
from mlcslm.errors import FaultyInput, UserError

REPOSITORY = Path(__file__).parents[2]


PROJECTOR = {"parent": "foundation", "trains": ["projector"], "template": "plain", "steps": 3}
VALUES: dict[str, Any] = {
    "models": {"encoder": "some/encoder", "language_model": "some/lm"},
    "stages": {
        "first": PROJECTOR,
        "second": {
            "parent": "first",
            "trains": ["projector", "lm_lora", "encoder_lora"],
            "template": "tagged",
            "steps": 2,
        },
        "third": {"parent": "second", "trains": ["projector"], "template": "tagged", "steps": 1},
    },
    "decodings": {"greedy": {}},
}


@pytest.fixture
def values() -> dict[str, Any]:
    return copy.deepcopy(VALUES)


def put(values: dict[str, Any], path: str, value: Any) -> None:
    """Set the key at a dotted path, creating the sections above it."""
    *above, key = path.split(".")
    for name in above:
        values = values.setdefault(name, {})
    values[key] = value


def faults_of(values: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(FaultyInput) as caught:
        parse_config(values, "mine.yaml")
    assert str(caught.value).startswith(f"mine.yaml: {len(caught.value.faults)} fault(s)")
    return caught.value.faults


@pytest.mark.parametrize(
    ("path", "neighbours"),
    [
        ("colour", ["corpus", "models", "stages"]),
        ("models.enc", ["encoder", "language_model"]),
        ("models.lora.r", ["rank", "alpha"]),
        ("corpus.demo.sessions", ["train_sessions", "dev_sessions"]),
        ("stages.first.step", ["steps", "batch_size"]),
        ("decodings.greedy.beam", ["beams", "max_new_tokens"]),
    ],
)
def test_unknown_key_is_rejected_with_its_path_and_the_known_keys(
    values: dict[str, Any], path: str, neighbours: list[str]
) -> None:
    put(values, path, 1)
    (fault,) = faults_of(values)
    assert fault.startswith(f"{path}: unknown key")
    expected = fault.split("expected one of ")[1].split(", ")
    assert set(neighbours) <= set(expected)
    assert path.split(".")[-1] not in expected


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("stages.first.steps", 0, "greater than or equal to 1; found 0"),
        ("stages.first.steps", "many", "valid integer"),
        ("stages.first.learning_rate", -0.1, "greater than 0; found -0.1"),
        ("stages.first.trains", [], "at least 1 item"),
        (
            "stages.first.template",
            "fancy",
            "'plain', 'tagged', 'tagged-own-language', 'reasoning', 'diarized' or 'choose'; found 'fancy'",
        ),
        ("augmentation.probability", 1.5, "less than or equal to 1; found 1.5"),
        ("models.lora.dropout", 1, "less than 1; found 1"),
        ("models.encoder_window", "tiny", "'true_length' or 'full'; found 'tiny'"),
        ("scoring.protocol", "mine", "'mlcslm-2025' or 'whisper-norm'; found 'mine'"),
        ("resources.training_threads", 0, "greater than or equal to 1; found 0"),
    ],
)
def test_impossible_value_is_rejected_with_what_was_expected(
    values: dict[str, Any], path: str, value: Any, expected: str
) -> None:
    put(values, path, value)
    (fault,) = faults_of(values)
    assert fault.startswith(f"{path}: ")
    assert expected in fault


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("stages.first.longest_s", 20.0, "unknown key; renamed to max_duration_s"),
        ("reasoning.longest_details", 3, "unknown key; renamed to max_details"),
        ("decodings.greedy.context", "own", "'reference' or 'hypotheses'; found 'own', renamed to 'hypotheses'"),
    ],
)
def test_earlier_name_is_rejected_with_the_new_one(
    values: dict[str, Any], path: str, value: Any, expected: str
) -> None:
    put(values, path, value)
    (fault,) = faults_of(values)
    assert fault.startswith(f"{path}: ")
    assert fault.endswith(expected)


def test_earlier_names_of_a_reinforcement_stage_too(values: dict[str, Any]) -> None:
    reinforcement = {"kind": "reinforcement", "parent": "second", "trains": ["lm_lora"], "steps": 1}
    values["stages"]["rewarded"] = reinforcement | {"rewards": ["format"], "longest_s": 20.0}
    assert faults_of(values) == ("stages.rewarded.longest_s: unknown key; renamed to max_duration_s",)


@pytest.mark.parametrize("old", RENAMED)
def test_new_names_are_accepted_where_the_earlier_ones_were(values: dict[str, Any], old: str) -> None:
    path, _, was_value = (
        old.replace("stages.*", "stages.first").replace("decodings.*", "decodings.greedy").partition(": ")
    )
    if was_value:
        put(values, path, RENAMED[old])
    else:
        put(values, f"{path.rpartition('.')[0]}.{RENAMED[old]}", 3)
    parse_config(values)


def test_earlier_names_are_known_only_where_they_were(values: dict[str, Any]) -> None:
    put(values, "decodings.greedy.longest_s", 20.0)
    put(values, "decodings.greedy.method", "own")
    assert not any("renamed" in fault for fault in faults_of(values))


def test_unknown_part_is_rejected(values: dict[str, Any]) -> None:
    values["stages"]["first"]["trains"] = ["projector", "decoder"]
    assert any(fault.startswith("stages.first.trains.1: ") and "'decoder'" in fault for fault in faults_of(values))


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("models", "models.encoder: required, as there are stages"),
        ("stages", "expected stages, recognizers or systems"),
        ("decodings", "decodings: required, as there are stages"),
    ],
)
def test_what_stages_need_is_required(values: dict[str, Any], missing: str, expected: str) -> None:
    del values[missing]
    (fault,) = faults_of(values)
    assert expected in fault


def test_all_faults_are_named_at_once(values: dict[str, Any]) -> None:
    put(values, "colour", "red")
    put(values, "stages.first.steps", 0)
    put(values, "stages.second.trian", ["projector"])
    put(values, "decodings.greedy.beams", 4)
    put(values, "corpus.kind", "folder")
    paths = {fault.split(":")[0] for fault in faults_of(values)}
    assert paths == {"colour", "stages.first.steps", "stages.second.trian", "decodings.greedy", "corpus"}


@pytest.mark.parametrize(
    ("method", "beams", "fits"),
    [
        ("greedy", 1, True),
        ("greedy", 2, False),
        ("multinomial", 2, False),
        ("beam", 1, False),
        ("beam", 2, True),
        ("beam+sampling", 1, False),
        ("beam+sampling", 8, True),
    ],
)
def test_beams_fit_the_method(values: dict[str, Any], method: str, beams: int, fits: bool) -> None:
    values["decodings"]["greedy"] = {"method": method, "beams": beams}
    if fits:
        assert parse_config(values).decodings["greedy"].beams == beams
    else:
        (fault,) = faults_of(values)
        assert fault.startswith("decodings.greedy: ")
        assert method in fault


def test_corpus_of_folders_needs_one_per_split(values: dict[str, Any]) -> None:
    values["corpus"] = {"kind": "folder", "folders": {"train": "here", "test": "there"}}
    (fault,) = faults_of(values)
    assert fault.startswith("corpus: ")
    assert "lacks dev" in fault


def test_parent_that_is_not_a_stage_is_rejected(values: dict[str, Any]) -> None:
    values["stages"]["second"]["parent"] = "frist"
    (fault,) = faults_of(values)
    assert "stages.second.parent is 'frist'" in fault


@pytest.mark.parametrize(
    ("parent", "cycle"),
    [
        ("first", "first -> first"),
        ("second", "first -> second -> first"),
        ("third", "first -> third -> second -> first"),
    ],
)
def test_cycle_of_parents_is_rejected(values: dict[str, Any], parent: str, cycle: str) -> None:
    values["stages"]["first"]["parent"] = parent
    (fault,) = faults_of(values)
    assert fault.endswith(f"cycle, {cycle}")


def test_encoder_adapters_without_those_of_the_language_model_are_rejected(values: dict[str, Any]) -> None:
    values["stages"]["second"]["trains"] = ["projector", "encoder_lora"]
    (fault,) = faults_of(values)
    assert "stages.second.trains" in fault


def test_a_stage_with_whole_turns_needs_their_length(values: dict[str, Any]) -> None:
    first = next(iter(values["stages"]))
    values["stages"][first]["turns"] = True
    with pytest.raises(UserError, match=rf"stages\.{first}\.turns: corpus\.turns_s, .* is missing; add it"):
        parse_config(values)
    values.setdefault("corpus", {})["turns_s"] = 12
    assert parse_config(values).corpus.turns_s == 12


def test_lineage_is_nearest_first_without_the_foundation(values: dict[str, Any]) -> None:
    config = parse_config(values)
    assert config.lineage("third") == ["third", "second", "first"]
    assert config.lineage("first") == ["first"]


def test_an_encoder_belongs_to_the_last_stage_that_adapted_it(values: dict[str, Any]) -> None:
    config = parse_config(values)
    # `third` trains only the projector, but on top of an encoder that `second` changed.
    assert [config.encoder_of(name) for name in ("first", "second", "third")] == ["foundation", "second", "second"]
    assert config.standing_encoders == ["foundation", "second"]


def test_configuration_cannot_be_changed_afterwards(values: dict[str, Any]) -> None:
    config = parse_config(values)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("- a\n- b\n", "found list, expected a mapping"), ("models: {encoder\n", "not valid YAML"), (None, "no such")],
)
def test_file_that_is_not_a_configuration_is_named(tmp_path: Path, text: str | None, expected: str) -> None:
    path = tmp_path / "mine.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=expected) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_reference_of_keys_matches_the_descriptions() -> None:
    path = REPOSITORY / "config" / "README.md"
    found, expected = (text.splitlines(keepends=True) for text in (path.read_text("utf-8"), render_reference()))
    difference = "".join(difflib.unified_diff(found, expected, "config/README.md", "from src/mlcslm/config/"))
    assert not difference, f"config/README.md has drifted; `make reference` rewrites it:\n{difference}"


def test_reference_describes_every_key() -> None:
    def keys(section: type, path: str = "") -> list[str]:
        found = []
        for key, field in section.model_fields.items():
            assert field.description, f"{path}{key} has no description"
            found.append(key)
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            for kind in kinds:
                if hasattr(kind, "model_fields"):
                    found += keys(kind, f"{path}{key}.")
        return found

    reference = render_reference()
    names = keys(Config)
    assert len(names) > 50
    assert all(f"| `{name}` |" in reference for name in names)


@pytest.fixture
def dry_run(tmp_path: Path) -> Callable[..., str]:
    """Runs Snakemake's dry run in the repository with an overriding file; returns its output."""

    def run(override: dict[str, Any], *arguments: str, preset: str = "config/small.yaml") -> str:
        mine = tmp_path / "mine.yaml"
        mine.write_text(yaml.safe_dump(override), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", "--configfile", preset, str(mine)]
        done = subprocess.run([*command, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_file_after_the_preset_changes_only_what_it_names(dry_run: Callable[..., str], tmp_path: Path) -> None:
    """What config/README.md says about merging: if sections were replaced, the omitted keys would be missing."""
    results = tmp_path / "mine"
    folders = {split: str(tmp_path / split) for split in ("train", "dev", "test")}
    for folder in folders.values():
        Path(folder).mkdir()
    override = {"results": str(results), "corpus": {"folders": folders}, "models": {"encoder": "other/encoder"}}
    output = dry_run(override, "--config", "stages={ckpt-7000: {steps: 5}}", "decodings={beam-4: {beams: 1}}")
    assert "fault(s)" not in output
    assert f"output: {results}/manifests/dev.parquet" in output
    assert f"{results}/hypotheses/ckpt-7000/greedy/dev" in output


@pytest.mark.slow
def test_faulty_override_is_named_by_its_path(dry_run: Callable[..., str]) -> None:
    output = dry_run({"models": {"encoder_window": "tiny"}}, "--config", "decodings={greedy: {beams: 3}}")
    assert "2 fault(s)" in output
    assert "models.encoder_window: " in output
    assert "decodings.greedy: " in output
