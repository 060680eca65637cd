"""Shapes of the foundation models: of a folder, of the hub's cache, of a shipped table of known ones, or of the hub."""

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
    """Configurations of encoder and language model, what and from where each is, how many tokens are added."""

    encoder: PreTrainedConfig
    language_model: PreTrainedConfig
    sources: tuple[str, str]
    added_tokens: int

    @property
    def rows(self) -> int:
        """Rows of embedding and head."""
        return self.language_model.vocab_size


def read_shapes(encoder: str, language_model: str, languages: str) -> Shapes:
    """Shapes of the models of a configuration: hub ids or folders, of which config.json alone is read.

    languages: the languages table, for the tokens that are added. Raises UserError for a model that is nowhere.
    """
    audio, audio_source, _ = _read(encoder, "encoder")
    text, text_source, tokens = _read(split_source(language_model)[0], "language model")
    if audio.model_type != "whisper":
        raise UserError(f"encoder {encoder}: a model of type {audio.model_type!r} found, expected Whisper's.")
    added = len(added_tokens(read_languages(languages).values())) + 1  # and the placeholder of audio
    if tokens is not None and tokens + added > text.vocab_size:
        text.vocab_size = math.ceil((tokens + added) / ROWS_MULTIPLE) * ROWS_MULTIPLE
    return Shapes(audio, text, (f"{encoder} ({audio_source})", f"{language_model} ({text_source})"), added)


@cache
def known_shapes() -> dict[str, dict[str, Any]]:
    """The shipped table: values of config.json by hub id, and `tokens`, the size of the tokenizer."""
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def _read(source: str, kind: str) -> tuple[PreTrainedConfig, str, int | None]:
    folder = Path(source)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"{kind} {source}: no config.json there; expected the files that a model hub gives.")
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
            f"{kind} {source}: no configuration to be had ({str(error).strip().splitlines()[0]}). Give a folder with "
            f"its config.json, or one of the shapes that are known: {', '.join(known_shapes())}."
        ) from None


def _tokens_of(folder: Path) -> int | None:
    """How many ids the tokenizer in `folder` has, where it can be told from its file."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    ids = [*content["model"]["vocab"].values()] if isinstance(content["model"]["vocab"], dict) else []
    ids += [token["id"] for token in content.get("added_tokens", ())]
    return max(ids) + 1 if ids else None
