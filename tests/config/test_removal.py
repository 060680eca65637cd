"""`null` removes an entry, from files and from settings, and what refers to it is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mlcslm.config.reading import merged, parse_config, read_config_files
from mlcslm.errors import FaultyInput

REPOSITORY = Path(__file__).parents[2]
SMALL = yaml.safe_load((REPOSITORY / "config" / "small.yaml").read_text(encoding="utf-8"))


def faults(changes: dict[str, Any]) -> list[str]:
    with pytest.raises(FaultyInput) as caught:
        parse_config(merged(SMALL, changes))
    return list(caught.value.faults)


def test_every_section_of_named_entries_loses_what_is_null() -> None:
    changes: dict[str, Any] = {
        "stages": {"ckpt-9000-context": None, "ckpt-7000": {"part_learning_rates": {"head": None}}},
        "decodings": {"beam-10-150": None},
        "diarizers": {"eres2net-8": None},
        "embeddings": {"eres2net": None, "campplus": {"size": {"channels": None}}},
        "speaker_corpora": {"gone": None},
        "systems": {"gone": None},
        "corpus": {"folders": {"test": None}},
    }
    whole, config = parse_config(SMALL), parse_config(merged(SMALL, changes))
    for section in ("stages", "decodings", "diarizers", "embeddings"):
        gone = {name for name, value in changes[section].items() if value is None}
        assert list(getattr(config, section)) == [name for name in getattr(whole, section) if name not in gone]
    assert config.speaker_corpora == config.systems == {}
    assert config.corpus.splits == ("train", "dev")
    assert set(config.stages["ckpt-7000"].part_learning_rates) == {"embedding"}


def test_a_null_section_has_its_defaults() -> None:
    config = parse_config(merged(SMALL, {"diarizers": None, "augmentation": None}))
    assert config.diarizers == {}
    assert config.augmentation.cached_variants == 2


def test_a_later_file_brings_an_entry_back() -> None:
    overlay = merged({"diarizers": {"eres2net-8": None}}, {"diarizers": {"eres2net-8": {"num_speakers": 2}}})
    assert overlay == {"diarizers": {"eres2net-8": {"num_speakers": 2}}}


@pytest.mark.parametrize("null", [None, "null"], ids=["YAML", "of-snakemake's-braces"])
def test_what_refers_to_a_removed_entry_is_named_all_at_once(null: str | None) -> None:
    assert faults({"embeddings": {"resnet101": null}, "decodings": {"greedy-hypothesis-context": null}}) == [
        f"diarizers.{name}.embedding: 'resnet101' was removed (embeddings.resnet101: null); remove diarizers.{name} "
        "too, or name one of campplus, eres2net"
        for name in ("resnet101-8", "resnet101-8-merged", "resnet101-8-two-speakers")
    ]
    found = faults({"stages": {"ckpt-7000": null}})
    children = [name for name, stage in SMALL["stages"].items() if stage.get("parent") == "ckpt-7000"]
    assert [fault.split(":")[0] for fault in found] == [
        *(f"stages.{name}.parent" for name in children),
        "reasoning.checkpoint",
    ]


def test_settings_are_merged_after_files(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("results: elsewhere\nstages: {ckpt-7000: {steps: 5}}\n", encoding="utf-8")
    config = read_config_files([REPOSITORY / "config/small.yaml", mine, "seed=3", "diarizers={eres2net-8: null}"])
    assert (config.results, config.seed, config.stages["ckpt-7000"].steps) == ("elsewhere", 3, 5)
    assert "eres2net-8" not in config.diarizers


def test_a_folder_corpus_needs_train_and_dev_and_no_test() -> None:
    (found,) = faults({"corpus": {"folders": {"dev": None, "test": None}}})
    assert "folders lacks dev" in found
    (found,) = faults({"corpus": {"folders": {"test": None}}, "systems": {"theirs": {"files": {"test": "h.stm"}}}})
    assert "systems.theirs.files.test: the corpus has no such split" in found
