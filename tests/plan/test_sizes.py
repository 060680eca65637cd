"""Parameters counted on the meta device, against hand-worked numbers and against a model that is really there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mlcslm.config.schema import ModelsConfig
from mlcslm.errors import UserError
from mlcslm.model.build import build_speech_llm
from mlcslm.model.parts import PARTS, part_parameters, set_trainable
from mlcslm.plan.fake_model import part_sizes, stage_bytes, stage_model, weight_bytes
from mlcslm.plan.shapes import Shapes, known_shapes, read_shapes

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"
PAPER = ModelsConfig(encoder="openai/whisper-large-v3-turbo", language_model="Tower-Babel/Babel-9B-Chat")


@pytest.fixture(scope="module")
def paper() -> Shapes:
    return read_shapes(PAPER.encoder, PAPER.language_model, str(LANGUAGES))


@pytest.mark.slow
def test_the_papers_parts_have_the_sizes_that_their_shapes_give(paper: Shapes) -> None:
    sizes = part_sizes(stage_model(paper, PAPER, trains=PARTS))
    assert sizes["projector"] == 18_160_384  # the paper's "17.32M", divided by 1024 twice
    assert round(sizes["projector"] / 1024**2, 2) == 17.32
    assert sizes["encoder"] == 636_968_960  # of Whisper-large-v3 and its turbo, by their model cards 637 M
    assert sizes["embedding"] == sizes["head"] == 152_064 * 3584
    # Rank 16 times inputs and outputs of each linear layer: query and output, key and value, three of the feed-forward.
    inner, shared, wide = 3584, 4 * 128, 18_944
    assert sizes["lm_lora"] == 34 * 16 * (2 * 2 * inner + 2 * (inner + shared) + 3 * (inner + wide))
    assert sizes["encoder_lora"] == 32 * 16 * (4 * 2 * 1280 + 2 * (1280 + 5120))
    # Each layer: weights and the biases of query, key and value, two norms; then the last norm, embedding and head.
    layer = 2 * inner * inner + 2 * inner * shared + inner + 2 * shared + 3 * inner * wide + 2 * inner
    assert sizes["language_model"] == 34 * layer + inner + 2 * 152_064 * inner
    assert round(sizes["language_model"] / 1e9, 1) == 9.0


def test_the_papers_tokens_find_room_in_babels_spare_rows(paper: Shapes) -> None:
    assert paper.added_tokens == 17 + 1
    assert paper.rows == 152_064
    assert paper.sources == tuple(f"{name} (known shape)" for name in (PAPER.encoder, PAPER.language_model))


def test_what_was_trained_is_float32_and_the_rest_bfloat16(paper: Shapes) -> None:
    model = stage_model(paper, PAPER, trains=["projector"], trained_before=["head", "lm_lora"], layers=(1, 1))
    sizes = part_sizes(model)
    everything = sizes["encoder"] + sizes["language_model"] + sizes["projector"] + sizes["lm_lora"]
    assert weight_bytes(model) == 2 * everything + 2 * (sizes["projector"] + sizes["head"] + sizes["lm_lora"])
    assert weight_bytes(model) == stage_bytes(sizes, ("projector", "head", "lm_lora"))
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == sizes["projector"]
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.parametrize("tied", [True, False])
def test_sizes_and_precisions_are_those_of_the_model_itself(
    tied: bool, encoder_folder: str, make_language_model: Callable[..., str], languages: dict[str, Any]
) -> None:
    folder = make_language_model(tied=tied)
    models = ModelsConfig(encoder=encoder_folder, language_model=folder, projector_hidden=16)
    model, _ = build_speech_llm(
        encoder=encoder_folder, language_model=folder, languages=languages, projector_hidden=16, dtype="bfloat16"
    )
    trained = set_trainable(model, ["projector", "embedding", "lm_lora"])
    meta = stage_model(
        read_shapes(encoder_folder, folder, str(LANGUAGES)), models, trains=["projector", "embedding", "lm_lora"]
    )
    mine = {name: (parameter.shape, parameter.dtype) for name, parameter in meta.named_parameters()}
    assert mine == {name: (parameter.shape, parameter.dtype) for name, parameter in model.named_parameters()}
    assert [name for name, parameter in meta.named_parameters() if parameter.requires_grad] == trained
    sizes = part_sizes(meta)
    assert stage_bytes(sizes, ("projector", "embedding", "lm_lora")) == weight_bytes(model)
    for part in ("projector", "embedding", "lm_lora", "encoder_lora"):
        assert sizes[part] == sum(parameter.numel() for parameter in part_parameters(model, part).values())


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_counted_beside_the_matrices(
    tied: bool, encoder_folder: str, make_language_model: Callable[..., str], languages: dict[str, Any]
) -> None:
    folder, trains = make_language_model(tied=tied), ("projector", "new_rows")
    models = ModelsConfig(encoder=encoder_folder, language_model=folder, projector_hidden=16)
    model, _ = build_speech_llm(
        encoder=encoder_folder, language_model=folder, languages=languages, projector_hidden=16, dtype="bfloat16"
    )
    trained = set_trainable(model, trains)
    meta = stage_model(read_shapes(encoder_folder, folder, str(LANGUAGES)), models, trains=trains)
    assert [name for name, parameter in meta.named_parameters() if parameter.requires_grad] == trained
    sizes = part_sizes(meta)
    assert sizes["new_rows"] == sum(parameter.numel() for parameter in part_parameters(model, "new_rows").values()) > 0
    assert stage_bytes(sizes, trains) == weight_bytes(model) == weight_bytes(meta)


def test_a_known_shape_is_what_its_folder_would_say(tmp_path: Path) -> None:
    values = known_shapes()["Qwen/Qwen2.5-7B-Instruct"]
    (tmp_path / "config.json").write_text(json.dumps({key: values[key] for key in values if key != "tokens"}))
    known = read_shapes(PAPER.encoder, "Qwen/Qwen2.5-7B-Instruct", str(LANGUAGES)).language_model
    given = read_shapes(PAPER.encoder, str(tmp_path), str(LANGUAGES)).language_model
    assert given.to_dict() == known.to_dict() | {"_name_or_path": given._name_or_path}


def test_what_is_no_model_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"encoder .*: no config\.json in it"):
        read_shapes(str(tmp_path), PAPER.language_model, str(LANGUAGES))
    with pytest.raises(UserError, match=r"language model nobody/nothing: found no configuration .*/Babel-9B-Chat"):
        read_shapes(PAPER.encoder, "nobody/nothing", str(LANGUAGES))
    with pytest.raises(UserError, match="found a model of type 'qwen2', expected 'whisper'"):
        read_shapes(PAPER.language_model, PAPER.language_model, str(LANGUAGES))


def test_nothing_of_the_papers_size_is_in_memory(paper: Shapes) -> None:
    before = torch.get_default_dtype()
    model = stage_model(paper, PAPER, trains=["projector"], layers=(1, 1))
    assert all(buffer.device.type == "meta" for buffer in model.buffers())
    assert torch.get_default_dtype() == before
