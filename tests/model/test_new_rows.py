"""Training the added tokens' rows alone: like training both matrices with all other rows' gradients set to zero."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mlcslm.errors import UserError
from mlcslm.model.build import build_speech_llm
from mlcslm.model.checkpoint import load_checkpoint, save_checkpoint
from mlcslm.model.parts import part_parameters, set_trainable


def batch_of(processor: Any) -> dict[str, torch.Tensor]:
    """Two tagged examples; the audio is arbitrary."""
    rng = torch.Generator().manual_seed(3)
    examples = []
    for text, tokens in (("hello there", 4), ("no", 2)):
        ids = processor.encode_example("English-American", "tagged", audio_tokens=tokens, transcript=text)
        examples.append(ids | {"encoder_frames": torch.randn(5 * tokens, 32, generator=rng)})
    return processor.collate(examples)


@pytest.mark.parametrize("tied", [False, True])
def test_steps_are_those_of_whole_matrices_with_other_gradients_masked(
    encoder_folder: str, make_language_model: Callable[..., str], languages: dict[str, Any], tied: bool, tmp_path: Path
) -> None:
    language_model = make_language_model(tied=tied, spare=7)

    def build() -> Any:
        return build_speech_llm(
            encoder=encoder_folder, language_model=language_model, languages=languages, projector_hidden=32
        )

    (whole, processor), (rows, _) = build(), build()
    ids = sorted(rows.config.added_tokens.values())
    set_trainable(whole, ["projector", "embedding", "head"])
    names = set_trainable(rows, ["projector", "new_rows"])
    trained = {name: rows.get_parameter(name).shape for name in names if "new_rows" in name}
    assert trained == dict.fromkeys(["new_rows.embedding", *([] if tied else ["new_rows.head"])], (len(ids), 32))
    batch = batch_of(processor)
    torch.testing.assert_close(rows(**batch).loss, whole(**batch).loss, atol=1e-6, rtol=0)
    before = rows.get_input_embeddings().weight.detach().clone()

    masked = torch.ones(len(before), 1)
    masked[ids] = 0
    optimizers = [
        torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0)
        for model in (whole, rows)
    ]
    for _ in range(4):
        for model, optimizer in zip((whole, rows), optimizers, strict=True):
            optimizer.zero_grad()
            model(**batch).loss.backward()
            if model is whole:
                for part in ("embedding", "head"):
                    part_parameters(whole, part)["weight"].grad.masked_fill_(masked.bool(), 0)
            optimizer.step()
    states = sum(state.numel() for values in optimizers[1].state.values() for state in values.values() if state.ndim)
    assert states == 2 * sum(parameter.numel() for parameter in rows.parameters() if parameter.requires_grad)
    assert rows.get_input_embeddings().weight.grad is None

    info = save_checkpoint(tmp_path / "a", rows, name="a", parent="foundation", recipe={}, fingerprints={})
    assert info.parts == ["new_rows", "projector"]
    assert (tmp_path / "a" / "embedding.safetensors").stat().st_size < before.numel() * 4
    loaded, _ = load_checkpoint(tmp_path / "a", languages=languages)
    for name in ("get_input_embeddings", "get_output_embeddings"):
        found, expected = (getattr(model, name)().weight.detach() for model in (loaded, whole))
        torch.testing.assert_close(found[ids], expected[ids], atol=1e-6, rtol=1e-5)
        assert torch.equal(
            found[~torch.isin(torch.arange(len(found)), torch.tensor(ids))], expected[masked[:, 0].bool()]
        )
    assert torch.equal(loaded.get_input_embeddings().weight[masked[:, 0].bool()], before[masked[:, 0].bool()])
    assert not torch.equal(loaded.get_input_embeddings().weight[ids], before[ids])
    unlabelled = batch | {"labels": None}  # with labels there are no logits
    torch.testing.assert_close(loaded(**unlabelled).logits, rows(**unlabelled).logits, atol=1e-5, rtol=1e-5)


def test_an_unknown_part_is_refused(encoder_folder: str, language_model_folder: str, languages: dict[str, Any]) -> None:
    model, _ = build_speech_llm(
        encoder=encoder_folder, language_model=language_model_folder, languages=languages, projector_hidden=32
    )
    with pytest.raises(UserError, match="found 'rows', expected some of: projector, embedding, head, new_rows,"):
        set_trainable(model, ["rows"])  # type: ignore[list-item]
