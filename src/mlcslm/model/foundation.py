"""The two foundation models, by hub id or folder: Whisper's encoder and a causal language model."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    WhisperFeatureExtractor,
)
from transformers.utils import logging

from mlcslm.config.model_sources import REMOTE_CODE, split_source
from mlcslm.errors import FaultyInput, UserError
from mlcslm.model.encoder import ENCODER_WEIGHT_NAMES, SpeechEncoder
from mlcslm.runtime.progress import waiting


def load_encoder(
    source: str, *, dtype: torch.dtype, attn_implementation: str | None = None
) -> tuple[SpeechEncoder, WhisperFeatureExtractor]:
    """The encoder of the Whisper checkpoint at `source` (hub id or folder) and its feature extractor.

    The decoder's weights are never read. Raises UserError if `source` is not such a checkpoint.
    """
    config = _load_config(source, "encoder")
    if config.model_type != "whisper":
        raise UserError(
            f"encoder {source}: found a model of type {config.model_type!r}, expected a Whisper checkpoint."
        )
    with named_source(source, "encoder"):
        loaded = SpeechEncoder.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            attn_implementation=attn_implementation,
            key_mapping=ENCODER_WEIGHT_NAMES,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    encoder, report = cast("tuple[SpeechEncoder, dict[str, Any]]", loaded)
    refuse_missing_weights(source, "encoder", report)
    # Else saving would restore names that nothing loads.
    encoder._weight_conversions = None  # type: ignore[assignment] # not a module or a tensor
    return encoder, _load_feature_extractor(source, config)


def load_language_model(
    source: str, *, dtype: torch.dtype, attn_implementation: str | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The causal language model at `source` (hub id or folder) with its head, and its tokenizer.

    Code that comes with the weights is run only if `source` starts with `REMOTE_CODE`. Raises UserError if `source` is
    not such a model, or its tokenizer has no end token.
    """
    source, remote_code = split_source(source)
    config = _load_config(source, "language model", remote_code)
    with named_source(source, "language model"):
        loaded = AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            attn_implementation=attn_implementation,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=remote_code,
        )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=remote_code)
    model, report = cast("tuple[PreTrainedModel, dict[str, Any]]", loaded)
    refuse_missing_weights(source, "language model", report)
    if tokenizer.eos_token_id is None:
        raise UserError(f"language model {source}: its tokenizer has no end token (eos_token); set one in its folder.")
    return model, tokenizer


def fingerprint_of(model: nn.Module) -> str:
    """SHA-256 that tells foundation models apart, whatever the dtype they were loaded in.

    Hashes the name, the shape and the first 64 bfloat16 values of each weight, to avoid a pass over gigabytes.
    """
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        values = parameter.detach().flatten()[:64].to("cpu", torch.bfloat16).view(torch.int16).numpy()
        digest.update(f"{name}{tuple(parameter.shape)}".encode())
        digest.update(values.astype("<i2").tobytes())
    return digest.hexdigest()


def _load_config(source: str, kind: str, remote_code: bool = False) -> PreTrainedConfig:
    folder = Path(source)
    if folder.is_dir():
        if missing := _missing_files(folder):
            raise UserError(f"{kind} {source}: {missing} not found; expected the files of a model hub.")
    elif folder.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise UserError(f"{kind} {source}: no such folder. Specify a folder with {_EXPECTED_FILES}, or a hub id.")
    with named_source(source, kind):
        return AutoConfig.from_pretrained(source, trust_remote_code=remote_code)


_EXPECTED_FILES = "config.json and *.safetensors"


def _missing_files(folder: Path) -> str | None:
    missing = [name for name in ("config.json", "*.safetensors") if not any(folder.glob(name))]
    return " and ".join(missing) or None


def refuse_missing_weights(source: str, kind: str, report: dict[str, Any]) -> None:
    """transformers would randomly initialise weights that are missing or of another shape, and only warn."""
    faults = [f"{name}: no such weight" for name in sorted(report["missing_keys"])]
    faults += [
        f"{name}: found {tuple(found)}, expected {tuple(expected)}"
        for name, found, expected in sorted(report["mismatched_keys"])
    ]
    if faults:
        raise FaultyInput(f"{kind} {source}: its weights do not match its config.json.", faults)


def _load_feature_extractor(source: str, config: PreTrainedConfig) -> WhisperFeatureExtractor:
    """The checkpoint's own extractor, or if it has none, Whisper's with the encoder's number of mel bins."""
    try:
        extractor = WhisperFeatureExtractor.from_pretrained(source)
    except OSError:
        return WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    if extractor.feature_size != config.num_mel_bins:
        raise UserError(
            f"encoder {source}: its feature extractor makes {extractor.feature_size} mel bins, its config.json says "
            f"{config.num_mel_bins}; correct feature_size in preprocessor_config.json."
        )
    return extractor


@contextlib.contextmanager
def named_source(source: str, kind: str) -> Iterator[None]:
    """Turn what transformers raises for an unusable source into an error that names it; hide its progress bars."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with waiting(f"loading {kind} {source}"):
            yield
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        if "trust_remote_code" in str(error):
            raise UserError(
                f"{kind} {source}: comes with its own Python code, which is not run. Choose another model; or, if you "
                f"have read that code and trust it, name the {kind} '{REMOTE_CODE}{source}'."
            ) from None
        reason: Any = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{kind} {source}: cannot be loaded ({reason}). Expected a folder with {_EXPECTED_FILES}, or a hub id that "
            "this machine can reach."
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()
