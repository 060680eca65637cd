"""Build a speech LLM from its two foundation models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from mlcslm.config.languages import Group
from mlcslm.errors import UserError
from mlcslm.model.configuration import LoraSettings, SpeechLLMConfig
from mlcslm.model.encoder import SpeechEncoder
from mlcslm.model.foundation import fingerprint_of, load_encoder, load_language_model
from mlcslm.model.log_mel import EncoderWindow
from mlcslm.model.processor import SpeechProcessor, add_tokens
from mlcslm.model.projector import Projector
from mlcslm.model.speech_llm import SpeechLLM

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ROWS_MULTIPLE = 64
"""An embedding is grown to a multiple of this many rows, which matrix products on GPUs need to be fast."""
NEW_ROW_NOISE = 0.02
"""Noise of new embedding rows, relative to the spread of existing ones: enough to tell new tokens apart."""


def build_speech_llm(
    *,
    encoder: str,
    language_model: str,
    languages: Mapping[str, Group],
    projector_hidden: int = 2048,
    encoder_window: EncoderWindow = "true_length",
    dtype: str = "float32",
    seed: int = 0,
    lora: LoraSettings | None = None,
    attn_implementation: str | None = None,
) -> tuple[SpeechLLM, SpeechProcessor]:
    """A speech LLM from a Whisper checkpoint's encoder and a causal language model, and its processor.

    encoder, language_model: hub ids or folders; languages: the groups whose tokens and prompts it knows; dtype: of the
    weights; seed: for the projector and the new embedding rows, the only weights not pretrained; lora: settings of the
    adapters that `set_trainable` may add. Freezing is up to `set_trainable`; the model is in eval mode. Raises
    UserError for an unusable source.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype: found {dtype!r}, expected one of: {', '.join(DTYPES)}.")
    speech_encoder, feature_extractor = load_encoder(
        encoder, dtype=DTYPES[dtype], attn_implementation=attn_implementation
    )
    causal_lm, tokenizer = load_language_model(
        language_model, dtype=DTYPES[dtype], attn_implementation=attn_implementation
    )
    foundation = {
        "encoder": {"source": encoder, "fingerprint": fingerprint_of(speech_encoder)},
        "language_model": {"source": language_model, "fingerprint": fingerprint_of(causal_lm)},
    }
    known = set(tokenizer.get_vocab())
    added = add_tokens(tokenizer, languages)
    processor = SpeechProcessor(
        tokenizer,
        feature_extractor,
        languages,
        encoder_window=encoder_window,
        max_mel_frames=speech_encoder.max_mel_frames,
    )
    add_embedding_rows(causal_lm, [number for token, number in added.items() if token not in known], seed=seed)
    config = SpeechLLMConfig(
        audio_config=speech_encoder.config,
        text_config=causal_lm.config,
        projector_hidden=projector_hidden,
        audio_token_id=processor.audio_token_id,
        added_tokens=added,
        encoder_window=encoder_window,
        attn_implementation=attn_implementation,  # type: ignore[call-arg] # any configuration accepts it
    )
    model = _assemble(config, speech_encoder, causal_lm, seed)
    model.generation_config = _generation_config(causal_lm, tokenizer, processor)
    model.lora_settings = lora or LoraSettings()
    model.foundation = foundation
    return model.eval(), processor


def add_embedding_rows(causal_lm: PreTrainedModel, new_ids: Sequence[int], *, seed: int) -> None:
    """Give `new_ids` embedding and head rows: the mean of the rows below them plus a little seeded noise.

    They use the model's spare rows (Babel has 152,064 for about 151,665 ids); the matrices grow only if these do not
    suffice, and never shrink.
    """
    if not new_ids:
        return
    rows, total = _embedding(causal_lm).num_embeddings, max(new_ids) + 1
    if total > rows:
        with torch.random.fork_rng(devices=[]):  # new rows are random until they are set below
            causal_lm.resize_token_embeddings(total, pad_to_multiple_of=ROWS_MULTIPLE, mean_resizing=False)
    known = min(rows, *new_ids)
    matrices = (_embedding(causal_lm), _head(causal_lm))
    weights = {id(module.weight): module.weight for module in matrices}  # a single one if they are tied
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in weights.values():
            mean = weight[:known].mean(0, dtype=torch.float32)
            spread = weight[: min(known, 4096)].float().std()
            noise = torch.randn(len(new_ids), weight.shape[1], generator=generator).to(weight.device)
            weight[rows:] = mean.to(weight.dtype)  # the added rows, some of which have no id
            weight[list(new_ids)] = (mean + NEW_ROW_NOISE * spread * noise).to(weight.dtype)


def _assemble(config: SpeechLLMConfig, encoder: SpeechEncoder, causal_lm: PreTrainedModel, seed: int) -> SpeechLLM:
    """Put the loaded models and a new projector into a speech LLM created without allocating weights."""
    with torch.device("meta"):
        model = SpeechLLM(config)
    dtype = causal_lm.dtype
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        projector = Projector(encoder.config.d_model, causal_lm.config.hidden_size, hidden=config.projector_hidden)
    model.model.encoder = encoder
    model.model.projector = projector.to(dtype)
    model.model.language_model = causal_lm.base_model
    model.lm_head = _head(causal_lm)
    model.config.dtype = dtype
    return model


def _embedding(causal_lm: PreTrainedModel) -> nn.Embedding:
    return cast("nn.Embedding", causal_lm.get_input_embeddings())


def _head(causal_lm: PreTrainedModel) -> nn.Linear:
    return cast("nn.Linear", causal_lm.get_output_embeddings())


def _generation_config(
    causal_lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, processor: SpeechProcessor
) -> GenerationConfig:
    """End and padding tokens, and what is never generated: the placeholder and rows without an id.

    Drops the language model's own sampling settings (temperature, penalties): a decoding specifies its own.
    """
    without_id = set(range(_embedding(causal_lm).num_embeddings)) - set(tokenizer.get_vocab().values())
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=processor.end_token_id,
        pad_token_id=processor.pad_token_id,
        suppress_tokens=[processor.audio_token_id, *sorted(without_id)],
    )
