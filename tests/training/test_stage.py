"""One stage: it trains what it should, and only that; it stops on non-finite values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from mlcslm.errors import UserError
from mlcslm.io.files import sha256
from mlcslm.model.build import build_speech_llm
from mlcslm.model.checkpoint_file import read_checkpoint
from mlcslm.training import stage as stage_module
from mlcslm.training.batches import BatchPlan

ALL = ["projector", "embedding", "head", "lm_lora", "encoder_lora"]


def log_of(folder: Path) -> dict[str, list]:
    return pq.read_table(folder / "training_log.parquet").to_pydict()


def part_files(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in folder.glob("*.safetensors")}


def test_the_loss_falls_and_the_log_has_every_step(make_config, train: Callable[..., Path], tmp_path: Path) -> None:
    stage = {"trains": ["projector", "embedding", "head"], "template": "tagged", "steps": 40, "learning_rate": 5e-3}
    config = make_config({"a": stage | {"warmup_steps": 4, "schedule": "linear"}})
    log = log_of(train(config, "a", tmp_path))
    assert list(log) == ["checkpoint", "step", "loss", "learning_rate", "tokens_per_second", "seconds"]
    assert log["step"] == list(range(1, 41))
    assert set(log["checkpoint"]) == {"a"}
    assert sum(log["loss"][-5:]) < 0.5 * sum(log["loss"][:5])
    # Linear warm-up from 0 over 4 steps, then linearly down to 0 at step 40; logged is the rate that the step used.
    expected = [5e-3 * min(step / 4, (40 - step) / 36) for step in range(40)]
    assert log["learning_rate"] == pytest.approx(expected)
    assert min(log["tokens_per_second"]) > 0
    assert log["seconds"] == sorted(log["seconds"])


def test_the_first_loss_is_the_models_own(
    make_config, train: Callable[..., Path], tmp_path: Path, languages, tones: Path, encoder_folder, monkeypatch
) -> None:
    """Cross-entropy summed over the labelled positions, divided by their number, of a model built here."""
    config = make_config({"a": {"steps": 1, "batch_size": 6}})
    batches = []
    monkeypatch.setattr(stage_module, "UtteranceDataset", spied(stage_module.UtteranceDataset, batches, "__getitem__"))
    log = log_of(train(config, "a", tmp_path))
    model, processor = build_speech_llm(
        encoder=encoder_folder,
        language_model=config.models.language_model,
        languages=languages,
        projector_hidden=32,
        seed=config.seed,
    )
    total, count = 0.0, 0
    for example in batches:
        batch = processor.collate([example])
        with torch.no_grad():
            scores = model(**{k: v for k, v in batch.items() if k != "labels"}).logits[0, :-1].log_softmax(-1)
        targets = batch["labels"][0, 1:]
        total -= sum(scores[i, t].item() for i, t in enumerate(targets) if t != -100)
        count += int((targets != -100).sum())
    assert len(batches) == 6
    assert log["loss"] == pytest.approx([total / count], rel=1e-5)


def spied(kind: type, results: list, method: str) -> type:
    """A subclass of `kind` that records what `method` returns."""

    def keep(self: Any, *arguments: Any) -> Any:
        results.append(getattr(kind, method)(self, *arguments))
        return results[-1]

    return type(kind.__name__, (kind,), {method: keep})


def test_only_what_a_stage_trains_changes(make_config, train: Callable[..., Path], tmp_path: Path) -> None:
    stages = {
        "first": {"trains": ["projector"], "steps": 2},
        "second": {"parent": "first", "trains": ["projector", "embedding", "head"], "template": "tagged", "steps": 2},
        "third": {"parent": "second", "trains": ["lm_lora", "encoder_lora"], "template": "tagged", "steps": 2},
        "fourth": {"parent": "third", "trains": ["head", "encoder_lora", "lm_lora"], "template": "tagged", "steps": 2},
        "fifth": {"parent": "fourth", "trains": ["projector"], "template": "tagged", "steps": 2},
    }
    config = make_config(stages)
    folders = {name: train(config, name, tmp_path) for name in stages}
    files = {name: part_files(folder) for name, folder in folders.items()}
    changed = {
        name: {file for file in files[name] if files[name][file] != files[stage["parent"]].get(file)}
        for name, stage in stages.items()
        if "parent" in stage
    }
    assert changed == {
        "second": {"projector.safetensors", "embedding.safetensors"},
        "third": {"lm_lora.safetensors", "encoder_lora.safetensors"},
        "fourth": {"embedding.safetensors", "lm_lora.safetensors", "encoder_lora.safetensors"},
        "fifth": {"projector.safetensors"},
    }
    third, fourth = (load_file(folders[name] / "embedding.safetensors") for name in ("third", "fourth"))
    assert torch.equal(third["embedding.weight"], fourth["embedding.weight"])
    assert not torch.equal(third["head.weight"], fourth["head.weight"])
    assert read_checkpoint(folders["fifth"]).parts == sorted(ALL)
    assert read_checkpoint(folders["third"]).fingerprints["parent"] == sha256(folders["second"] / "checkpoint.json")
    # In the second step, the second matrix of each adapter is no longer zero.
    assert all(tensor.abs().max() > 0 for tensor in load_file(folders["third"] / "lm_lora.safetensors").values())


def test_each_part_learns_at_its_own_rate(
    make_config, train: Callable[..., Path], tmp_path: Path, languages, encoder_folder
) -> None:
    """AdamW's first step moves a weight by its learning rate, whatever the gradient's size."""
    stage = {"trains": ["projector", "embedding", "head"], "template": "tagged", "steps": 1, "warmup_steps": 0}
    stage |= {"schedule": "constant_with_warmup", "learning_rate": 1e-3}
    stage |= {"part_learning_rates": {"projector": 4e-2, "head": 7e-6}}
    config = make_config({"a": stage})
    folder = train(config, "a", tmp_path)
    models = config.models
    model, _ = build_speech_llm(
        encoder=encoder_folder,
        language_model=models.language_model,
        languages=languages,
        projector_hidden=32,
        seed=config.seed,
    )
    trained = load_file(folder / "projector.safetensors") | load_file(folder / "embedding.safetensors")
    before = dict(model.model.projector.named_parameters()) | {
        "embedding.weight": model.get_input_embeddings().weight,
        "head.weight": model.get_output_embeddings().weight,
    }
    moved = {name: (trained[name] - before[name]).abs().max().item() for name in before}
    for name, distance in moved.items():
        rate = {"embedding.weight": 1e-3, "head.weight": 7e-6}.get(name, 4e-2)
        assert distance == pytest.approx(rate, rel=0.02), name


def test_accumulating_gradients_is_a_larger_batch(
    make_config, train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 x 8, 2 x 4 and 4 x 2 utterances, of very different lengths, are one optimiser step."""

    class Pieces(BatchPlan):
        def __iter__(self):
            for batch in BatchPlan(self.lengths[::-1], 8, self.count, seed=0):
                mixed = batch[::2] + batch[1::2]
                yield from (mixed[i : i + self.size] for i in range(0, 8, self.size))

    monkeypatch.setattr(stage_module, "BatchPlan", Pieces)
    folders = []
    for size in (8, 4, 2):
        stage = {"trains": ["projector", "embedding", "head"], "template": "tagged", "steps": 3}
        stage |= {"batch_size": size, "accumulation": 8 // size, "warmup_steps": 0}
        folders.append(train(make_config({"a": stage}), "a", tmp_path / str(size)))
    losses = [log_of(folder)["loss"] for folder in folders]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6, rel=1e-6)
    assert losses[2] == pytest.approx(losses[0], abs=1e-6, rel=1e-6)
    for file in part_files(folders[0]):
        whole = load_file(folders[0] / file)
        for folder in folders[1:]:
            pieces = load_file(folder / file)
            # Adam divides by the gradient's magnitude: weights with hardly any gradient may differ by rounding.
            assert all((pieces[name] - whole[name]).abs().mean() < 1e-6 for name in whole)
            assert all((pieces[name] - whole[name]).abs().max() < 1e-3 for name in whole)


def test_another_languages_table_is_another_recipe(
    make_config, train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage is trained with its prompts and tokens."""
    stages = {"a": {"steps": 4, "save_steps": 2}}
    languages_table = Path(make_config(stages).languages).read_text(encoding="utf-8")
    (tmp_path / "languages.tsv").write_text(languages_table.replace("Transcrivez", "Notez"), encoding="utf-8")
    prints = [
        read_checkpoint(train(config, "a", tmp_path / str(number))).fingerprints
        for number, config in enumerate(
            [make_config(stages), make_config(stages, languages=str(tmp_path / "languages.tsv"))]
        )
    ]
    assert prints[0] != prints[1]
    assert {name for name in prints[0] if prints[0][name] != prints[1][name]} == {"languages"}


def test_cached_and_live_encoder_outputs_train_the_same(
    make_config, train: Callable[..., Path], tmp_path: Path, tones: Path, encoder_folder: str
) -> None:
    from mlcslm.model.encoder_cache import write_encoder_cache

    write_encoder_cache(tmp_path / "cache", tones, encoder=encoder_folder)
    config = make_config({"a": {"steps": 3}})
    live = train(config, "a", tmp_path / "live")
    cached = train(config, "a", tmp_path / "cached", cache=tmp_path / "cache")
    assert log_of(cached)["loss"] == pytest.approx(log_of(live)["loss"], abs=1e-5)


def test_recomputed_activations_train_the_same(make_config, train: Callable[..., Path], tmp_path: Path) -> None:
    stage = {"trains": ["projector", "lm_lora", "encoder_lora"], "steps": 3}
    kept = train(make_config({"a": stage}), "a", tmp_path / "kept")
    again = train(make_config({"a": stage | {"gradient_checkpointing": True}}), "a", tmp_path / "again")
    assert log_of(again)["loss"] == pytest.approx(log_of(kept)["loss"], abs=1e-6)
    for file in part_files(kept):
        expected, found = load_file(kept / file), load_file(again / file)
        assert all((found[name] - expected[name]).abs().max() < 1e-5 for name in expected), file


def test_a_stage_on_an_adapted_encoder_learns_the_same_from_its_cached_outputs(
    make_config, train: Callable[..., Path], tmp_path: Path, tones: Path, encoder_folder: str, languages
) -> None:
    from mlcslm.model.encoder_cache import Adapted, write_encoder_cache

    config = make_config(
        {
            "a": {"trains": ["projector", "lm_lora", "encoder_lora"], "steps": 3, "learning_rate": 1e-2},
            "b": {"trains": ["projector"], "steps": 3, "parent": "a"},
        }
    )
    parent = train(config, "a", tmp_path / "a")
    write_encoder_cache(tmp_path / "cache", tones, encoder=encoder_folder, adapted=Adapted(parent, dict(languages)))
    live = train(config, "b", tmp_path / "live", parent=parent)
    cached = train(config, "b", tmp_path / "cached", parent=parent, cache=tmp_path / "cache")
    assert log_of(cached)["loss"] == pytest.approx(log_of(live)["loss"], abs=1e-5)
    assert (cached / "encoder_lora.safetensors").read_bytes() == (parent / "encoder_lora.safetensors").read_bytes()

    write_encoder_cache(tmp_path / "unadapted", tones, encoder=encoder_folder)
    with pytest.raises(UserError, match=r"unadapted: made from an encoder with other adapters than the model's"):
        train(config, "b", tmp_path / "refused", parent=parent, cache=tmp_path / "unadapted")


def test_a_cache_is_refused_if_the_encoder_was_trained(
    make_config, train: Callable[..., Path], tmp_path: Path, tones: Path, encoder_folder: str
) -> None:
    from mlcslm.model.encoder_cache import write_encoder_cache

    write_encoder_cache(tmp_path / "cache", tones, encoder=encoder_folder)
    config = make_config({"a": {"trains": ["lm_lora", "encoder_lora"], "steps": 1}})
    with pytest.raises(UserError, match="this stage trains the encoder"):
        train(config, "a", tmp_path, cache=tmp_path / "cache")


def test_mistakes_are_reported(make_config, train: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"stages\.a\.batch_size is 64, but .* has only 24 utterances"):
        train(make_config({"a": {"steps": 1, "batch_size": 64}}), "a", tmp_path)
    with pytest.raises(UserError, match=r"stages\.a: template 'tagged' writes tokens that no stage"):
        train(make_config({"a": {"steps": 1, "template": "tagged"}}), "a", tmp_path)
    with pytest.raises(UserError, match=r"none of its 24 utterances has text and lasts at most 0\.01 s"):
        train(make_config({"a": {"steps": 1, "max_duration_s": 0.01}}), "a", tmp_path)
    with pytest.raises(UserError, match=r"musan: no such folder"):
        noisy = make_config({"a": {"steps": 1}}, augmentation={"probability": 1})
        train(noisy, "a", tmp_path, noise=tmp_path / "musan")
    (tmp_path / "parent").mkdir()
    (tmp_path / "parent" / "checkpoint.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match=r"parent/checkpoint\.json"):
        train(make_config({"a": {"steps": 1}}), "a", tmp_path, parent=tmp_path / "parent")
