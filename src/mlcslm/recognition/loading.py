"""Loads recognisers: which family a model is of, and its weights and processor."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CTC_MAPPING_NAMES,
    MODEL_FOR_RNNT_MAPPING_NAMES,
    MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
    MODEL_FOR_TDT_MAPPING_NAMES,
)

from mlcslm.config.model_sources import missing_model_files, split_source
from mlcslm.config.recognizers import RecognizerConfig
from mlcslm.errors import UserError
from mlcslm.model.foundation import named_source, refuse_missing_weights
from mlcslm.model.precision import model_dtype
from mlcslm.recognition.recognizer import Recognizer

KIND = "recogniser"

_MODULES = {
    "whisper": "whisper",
    "ctc": "ctc",
    "transducer": "transducer",
    "seq2seq": "seq2seq",
    "voxtral": "voxtral",
    "granite_speech": "granite_speech",
    "qwen3_asr": "qwen3_asr",
    "cohere_asr": "cohere_asr",
    "vibevoice_asr": "vibevoice_asr",
    "moss_transcribe_diarize": "moss_transcribe_diarize",
}
"""Module of each family in this package; it has a function `load(source, decoding)`."""
_GENERIC = {
    "ctc": MODEL_FOR_CTC_MAPPING_NAMES,
    "transducer": {**MODEL_FOR_RNNT_MAPPING_NAMES, **MODEL_FOR_TDT_MAPPING_NAMES},
    "seq2seq": MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
}


@dataclass(frozen=True)
class Source:
    """Where a recogniser is loaded from, and how. name: a hub id or folder; config: its own configuration."""

    name: str
    config: Any
    revision: str | None
    remote_code: bool
    dtype: torch.dtype

    def model(self, auto_class: Any, **options: Any) -> Any:
        """The model, on the GPU if there is one. Raises UserError if weights are missing or of another shape."""
        with named_source(self.name, KIND):
            model, report = auto_class.from_pretrained(
                self.name,
                config=self.config,
                revision=self.revision,
                trust_remote_code=self.remote_code,
                dtype=self.dtype,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
        refuse_missing_weights(self.name, KIND, report)
        return model.eval().to("cuda" if torch.cuda.is_available() else "cpu")

    def processor(self, auto_class: Any) -> Any:
        """The processor, tokenizer or feature extractor."""
        with named_source(self.name, KIND):
            return auto_class.from_pretrained(self.name, revision=self.revision, trust_remote_code=self.remote_code)


def load_recognizer(config: RecognizerConfig) -> Recognizer:
    """The recogniser of a configuration, ready to answer.

    Raises UserError for a folder that lacks a file, weights that don't match, models of no known family, and settings
    that the family does not have. Code that comes with a model is run only if `config.model` starts with
    `remote-code:`.
    """
    name, remote_code = split_source(config.model)
    folder = Path(name)
    if folder.is_dir():
        if missing := missing_model_files(folder):
            raise UserError(f"{KIND} {name}: {', '.join(missing)} not found; expected the files of a model hub.")
    elif folder.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise UserError(f"{KIND} {name}: no such folder. Specify the folder of a model, or a hub id.")
    with named_source(name, KIND):
        found = AutoConfig.from_pretrained(name, revision=config.revision, trust_remote_code=remote_code)
    family = config.kind or family_of(found.model_type, name)
    if config.decoding.silence_s is not None and family != "whisper":
        raise UserError(f"{KIND} {name}: only Whisper's window can be shortened; remove decoding.silence_s.")
    dtype = getattr(torch, model_dtype() if config.precision == "auto" else config.precision)
    source = Source(name, found, config.revision, remote_code, dtype)
    module = importlib.import_module(f"mlcslm.recognition.{_MODULES[family]}")
    recognizer: Recognizer = module.load(source, config.decoding)
    return recognizer


def family_of(model_type: str, name: str) -> str:
    """The family of a model by its config.json's `model_type`. Raises UserError if it is no recogniser.

    >>> family_of("whisper", "m"), family_of("hubert", "m"), family_of("parakeet_tdt", "m")
    ('whisper', 'ctc', 'transducer')
    """
    if model_type in _MODULES and model_type not in _GENERIC:
        return model_type
    for family, types in _GENERIC.items():
        if model_type in types:
            return family
    raise UserError(
        f"{KIND} {name}: its config.json says model_type {model_type!r}, which is no speech recogniser that is known "
        f"here. Expected one of {', '.join(sorted(set(_MODULES) - set(_GENERIC)))}, or a model that transformers lists "
        "for CTC, transducer or sequence-to-sequence speech recognition."
    )
