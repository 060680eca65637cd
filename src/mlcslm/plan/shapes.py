"""Shapes of the foundation models: from a folder, the shipped table of known models, or the hub and its cache."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from transformers import AutoConfig, PreTrainedConfig

from mlcslm.config.languages import read_languages
from mlcslm.config.model_sources import split_source
from mlcslm.errors import UserError
from mlcslm.model.build import ROWS_MULTIPLE
from mlcslm.text.templates import added_tokens

TABLE = Path(__file__).with_name("shapes.yaml")


@dataclass(frozen=True)
class Shapes:
    """Configurations of encoder and language model, their sources, and the number of added tokens."""

    encoder: PreTrainedConfig
    language_model: PreTrainedConfig
    sources: tuple[str, str]
    added_tokens: int

    @property
    def rows(self) -> int:
        """Rows of embedding and head."""
        return self.language_model.vocab_size


def read_shapes(encoder: str, language_model: str, languages: str) -> Shapes:
    """Shapes of a configuration's models: hub ids or folders, of which only config.json is read.

    languages: the languages table, for the added tokens. Raises UserError for a model that cannot be found.
    """
    audio, audio_source, _ = _read(encoder, "encoder")
    text, text_source, tokens = _read(split_source(language_model)[0], "language model")
    if audio.model_type != "whisper":
        raise UserError(f"encoder {encoder}: found a model of type {audio.model_type!r}, expected 'whisper'.")
    added = len(added_tokens(read_languages(languages).values())) + 1  # and the audio placeholder
    if tokens is not None and tokens + added > text.vocab_size:
        text.vocab_size = math.ceil((tokens + added) / ROWS_MULTIPLE) * ROWS_MULTIPLE
    return Shapes(audio, text, (f"{encoder} ({audio_source})", f"{language_model} ({text_source})"), added)


@cache
def known_shapes() -> dict[str, dict[str, Any]]:
    """The shipped table: config.json values by hub id, and `tokens`, the tokenizer's size."""
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def _read(source: str, kind: str) -> tuple[PreTrainedConfig, str, int | None]:
    folder = Path(source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"{kind} {source}: no config.json in it; expected a folder as downloaded from a model hub.")
        return _of_hub(source, kind), "folder", _tokens_of(folder)
    if source in known_shapes():
        values = dict(known_shapes()[source])
        tokens = values.pop("tokens", None)
        return AutoConfig.for_model(values.pop("model_type"), **values), "known shape", tokens
    return _of_hub(source, kind), "hub", None


def _of_hub(source: str, kind: str) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{kind} {source}: found no configuration ({str(error).strip().splitlines()[0]}). Give a folder with its "
            f"config.json, or one of the known models: {', '.join(known_shapes())}."
        ) from None


def _tokens_of(folder: Path) -> int | None:
    """How many ids the tokenizer in `folder` has, None if its file does not say."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    ids = [*content["model"]["vocab"].values()] if isinstance(content["model"]["vocab"], dict) else []
    ids += [token["id"] for token in content.get("added_tokens", ())]
    return max(ids) + 1 if ids else None
