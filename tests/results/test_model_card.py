"""Model cards: read back by the hub's own library; numbers as the database has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from mlcslm.export.model_card import model_card, read_measured
from mlcslm.results.database import open_database

INFO: dict[str, Any] = {
    "checkpoint": "ckpt-7000",
    "parent": "ckpt-4000",
    "template": "tagged",
    "dtype": "float32",
    "mlcslm_version": "0.1.0",
    "recipe": {"steps": 3, "method": "SFT ```\n# <script>"},
    "foundation": {
        "encoder": {"source": "openai/whisper-base", "fingerprint": "ab"},
        "language_model": {"source": "lm", "fingerprint": "cd"},
    },
}


@pytest.fixture
def card(database: Path, languages) -> str:
    return model_card("mine", INFO, languages, "greedy", read_measured(database, "ckpt-7000", "greedy"), "apache-2.0")


def test_the_header_is_what_hubs_read(card: str, database: Path) -> None:
    data = ModelCard(card).data
    assert data.library_name == "mlcslm" and data.pipeline_tag == "automatic-speech-recognition"
    assert data.license == "apache-2.0"
    assert data.base_model == ["openai/whisper-base"]  # the other is not a hub id
    assert len(data.language) == 11 and "fr" in data.language
    with open_database(database) as connection:
        query = "SELECT split, round(wer, 2) FROM wer_by_system WHERE system = 'ckpt-7000/greedy' ORDER BY split"
        rates = connection.execute(query).fetchall()
    assert [(one.dataset_split, one.metric_value) for one in data.eval_results] == rates
    assert {one.metric_type for one in data.eval_results} == {"wer"}


def test_every_group_is_listed_with_its_rate(card: str, database: Path) -> None:
    with open_database(database) as connection:
        query = (
            "SELECT grp, wer FROM wer_by_group WHERE system = 'ckpt-7000/greedy' AND split = 'dev' AND wer IS NOT NULL"
        )
        rates = connection.execute(query).fetchall()
    assert rates
    for group, rate in rates:
        assert any(line.startswith(f"| {group} |") and f" {rate:.2f} |" in line for line in card.splitlines()), group


def test_how_to_use_it_is_told(card: str) -> None:
    assert "mlcslm transcribe FOLDER recording.wav --group" in card
    assert "from mlcslm.decoding.transcription import Transcriber" in card


def test_no_text_of_the_recipe_leaves_its_block(card: str) -> None:
    body = card.split("---\n", 2)[2]
    assert body.count("```") % 2 == 0
    outside = "".join(body.split("```")[::2])
    assert "<script>" not in outside.replace("\\<script\\>", "")
    blocks = [block.removeprefix("json") for block in body.split("```")[1::2] if block.startswith("json")]
    assert [json.loads(block) for block in blocks] == [INFO["foundation"], INFO["recipe"]]


def test_without_results_the_card_says_so(languages) -> None:
    card = model_card("mine", INFO, languages, "greedy", None)
    assert "None: the results it was exported with do not include it." in card
    assert "model-index" not in yaml.safe_load(card.split("---\n")[1])


def test_what_was_not_scored_has_no_results(database: Path) -> None:
    measured = read_measured(database, "ckpt-1", "greedy")
    assert (measured.systems, measured.groups) == ([], [])
