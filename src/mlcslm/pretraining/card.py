"""The model card of the demo's foundation models: how they were trained, what they do, and each file's checksum."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import jiwer
import pyarrow.parquet as pq
import torch
from safetensors import safe_open

from mlcslm.corpus.audio import read_segment
from mlcslm.io.files import atomic_path, sha256
from mlcslm.model.foundation import load_encoder, load_language_model
from mlcslm.model.log_mel import LogMel
from mlcslm.pretraining.encoder import EncoderRecipe, head_of
from mlcslm.pretraining.noisy_text import LanguageModelRecipe
from mlcslm.text.characters import characters


def character_error_rates(encoder_folder: Path, manifest: Path, every: int = 1) -> dict[str, float]:
    """Character error rate in percent of the encoder with its CTC head (best path), by group and for `all`."""
    encoder, features = load_encoder(str(encoder_folder), dtype=torch.float32)
    encoder.eval()
    log_mel = LogMel(features)
    with safe_open(head_of(encoder_folder), "pt") as file:
        vocabulary = file.metadata()["vocabulary"]
        weight, bias = file.get_tensor("weight"), file.get_tensor("bias")
    references: dict[str, list[str]] = {}
    hypotheses: dict[str, list[str]] = {}
    for row in pq.read_table(manifest).to_pylist()[::every]:
        with torch.inference_mode():
            frames, _ = encoder(*log_mel([read_segment(row["audio"], row["start"], row["end"])]))
            path = (frames @ weight.T + bias)[0].argmax(-1).tolist()
        spelled = "".join(vocabulary[i - 1] for at, i in enumerate(path) if i and (at == 0 or path[at - 1] != i))
        for group in (row["grp"], "all"):
            references.setdefault(group, []).append(characters(row["text"]))
            hypotheses.setdefault(group, []).append(spelled)
    return {group: 100 * jiwer.cer(texts, hypotheses[group]) for group, texts in references.items()}


def write_card(
    out: str | os.PathLike[str],
    *,
    encoder: Path,
    language_model: Path,
    encoder_log: Path,
    language_model_log: Path,
    manifest: Path,
    hours: float,
    seed: int,
) -> None:
    """Write the card (Markdown) of both models; manifest: the demo's dev set, whose voices and sentences are unseen."""
    rates = character_error_rates(encoder, manifest)
    sizes = {
        name: sum(p.numel() for p in model.parameters())
        for name, model in (
            ("encoder", load_encoder(str(encoder), dtype=torch.float32)[0]),
            ("language_model", load_language_model(str(language_model), dtype=torch.float32)[0]),
        )
    }
    last = {
        name: json.loads(log.read_text().splitlines()[-1])
        for name, log in (("encoder", encoder_log), ("language_model", language_model_log))
    }
    recipe, encoder_recipe = LanguageModelRecipe(seed=seed), EncoderRecipe(seed=seed)
    lines = [
        "# The demo's foundation models",
        "",
        "They take the place of the paper's Whisper and Babel: small, pretrained from scratch on text from this",
        "repository's grammars and espeak-ng speech, with sentences and voices of the training split only.",
        "`make foundation` rebuilds them (`workflow/rules/foundation.smk`, `src/mlcslm/pretraining`).",
        "Licence: same as this repository.",
        "",
        "| | encoder | language model |",
        "|---|---|---|",
        "| shape | Whisper encoder | Qwen2, chat template, byte-level BPE |",
        f"| parameters | {sizes['encoder']:,} | {sizes['language_model']:,} |",
        "| task | characters of speech, CTC head (dropped) | correct a noisy sentence, in 11 languages |",
        f"| data | {hours:g} h of espeak-ng, half of it noisy or reverberant | sentences generated during training |",
        f"| final training loss | {last['encoder']['loss']:.3f} | {last['language_model']['loss']:.3f} |",
        f"| steps | {_steps(encoder_recipe):,} | {_steps(recipe):,} |",
        f"| seed | {seed} | {seed} |",
        "",
        f"Character error rate of the encoder with its CTC head on the demo's dev set: **{rates['all']:.1f} %**; "
        + "by group: "
        + ", ".join(f"{group} {rate:.1f}" for group, rate in rates.items() if group != "all")
        + ".",
        "",
        "Recipes:",
        "",
        "```json",
        json.dumps({"encoder": asdict(encoder_recipe)}),
        json.dumps({"language_model": asdict(recipe)}),
        "```",
        "",
        "SHA-256:",
        "",
        "```",
        *(
            f"{sha256(file)}  {folder.name}/{file.name}"
            for folder in (encoder, language_model)
            for file in sorted(folder.iterdir())
        ),
        "```",
    ]
    with atomic_path(out) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _steps(recipe: EncoderRecipe | LanguageModelRecipe) -> int:
    return sum(phase.steps for phase in recipe.phases)
