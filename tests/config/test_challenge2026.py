"""The 2026 challenge is data: its languages table, folders, and score over 21 groups, a number not in the code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mlcslm.config.languages import group_of_utterance, read_languages
from mlcslm.config.paper_tables import read_paper_tables, rows_for
from mlcslm.config.reading import read_config
from mlcslm.corpus.layout import Utterance, write_session
from mlcslm.corpus.manifest import build_manifest
from mlcslm.scoring.files import score_transcript_files
from mlcslm.scoring.recordings import groups_of_recordings
from mlcslm.text.templates import added_tokens
from mlcslm.workflow.layout import Layout

REPOSITORY = Path(__file__).parents[2]
TABLE = REPOSITORY / "config" / "languages2026.tsv"
GROUPS = read_languages(TABLE)
NEW = {"French-Canada", "Portuguese-Brazil", "Spanish-Mexico", "Tagalog", "Turkish", "Urdu"}


def test_the_table_has_the_first_challenges_groups_and_six_more() -> None:
    first = read_languages(REPOSITORY / "config" / "languages.tsv")
    assert (len(GROUPS), len({group.language for group in GROUPS.values()})) == (21, 14)
    assert {name: group for name, group in GROUPS.items() if name not in NEW} == first
    assert set(GROUPS) - set(first) == NEW
    characters = {name for name, group in GROUPS.items() if group.unit == "character"}
    assert characters == {"Japanese", "Korean", "Thai"}
    assert len({group.recording_prefix for group in GROUPS.values()}) == 21


def test_the_preset_measures_every_row_of_its_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    config = read_config("config/challenge2026.yaml")
    layout = Layout(config, whole=True)
    assert layout.groups == list(GROUPS) and len(layout.shards()) == 21
    for table in read_paper_tables(config.tables).values():
        assert rows_for(table, config.stages, config.decodings, config.diarizers) == table.rows
    assert layout.measured_tables() == ["table6", "table7"]


@pytest.mark.parametrize("below", ["", "batch1"])
def test_sessions_of_a_variety_are_below_their_language(tmp_path: Path, below: str) -> None:
    for group in GROUPS.values():
        write_session(tmp_path, group, "0001_001", np.zeros(16_000), 16_000, [Utterance("O1", 0.1, 0.9, "a")], below)
    table, faults = build_manifest(tmp_path, GROUPS)
    assert not faults and table["grp"].to_pylist() == list(GROUPS)
    ids, recordings = table["utterance_id"].to_pylist(), table["session_id"].to_pylist()
    assert [group_of_utterance(name, GROUPS) for name in ids] == list(GROUPS)
    assert [group.group for group in groups_of_recordings(recordings, GROUPS, "").values()] == list(GROUPS)
    assert "French-Canada-0001_001-O1-000010-000090" in ids and "Canada_0001_001" in recordings


@pytest.mark.parametrize("count", [1, 5, 21])
def test_tcpmer_is_pooled_and_averaged_over_however_many_groups(tmp_path: Path, count: int) -> None:
    """Group i, counted from 0, has i + 1 words (or characters), the first of which is wrong."""
    reference, hypothesis = tmp_path / "ref.stm", tmp_path / "hyp.stm"
    chosen = list(GROUPS.values())[-count:]
    for path, first in ((reference, "ก"), (hypothesis, "ข")):
        lines = []
        for number, group in enumerate(chosen):
            joined = ("" if group.unit == "character" else " ").join([first, *"ค" * number])
            lines.append(f"{group.recording_prefix}_0001_001 1 s 0 4 {joined}\n")
        path.write_text("".join(lines), encoding="utf-8")
    found = score_transcript_files(reference, hypothesis, "mlcslm-2025", TABLE, jobs=1)
    assert (found["errors"], found["length"], len(found["groups"])) == (count, count * (count + 1) // 2, count)
    assert found["group_mean_error_rate"] == pytest.approx(sum(1 / n for n in range(1, count + 1)) / count)


def test_the_documented_baseline_has_the_published_mean() -> None:
    page = (REPOSITORY / "docs" / "challenge2026.md").read_text("utf-8")
    listed = " ".join(page.split("tcpMER by group:")[1].split(". Source")[0].split())
    rates = dict(entry.rsplit(" ", 1) for entry in listed.split(", "))
    assert list(rates) == list(GROUPS)
    assert round(sum(map(float, rates.values())) / len(rates), 2) == 79.15


def test_each_language_has_one_token() -> None:
    tokens = {group.language: group.token for group in GROUPS.values()}
    assert len(set(tokens.values())) == 14
    assert set(tokens.values()) <= set(added_tokens(GROUPS.values()))
