"""A speech LLM from its two foundation models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
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
"""A grown embedding has a multiple of so many rows: matrix products on GPUs need it to be fast."""
NEW_ROW_NOISE = 0.02
"""Noise of new embedding rows, relative to the spread of the known ones: enough to tell new tokens apart."""


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
    """The speech LLM of a Whisper checkpoint's encoder and a causal language model, and its processor.

    encoder, language_model: hub ids or folders; languages: the groups whose tokens and prompts it knows; dtype: of the
    weights; seed: of the projector and the new embedding rows, which alone are not pretrained; lora: settings of the
    adapters that `set_trainable` may add. Everything is frozen or not as `set_trainable` says; the model is in eval
    mode. Raises UserError for a source that cannot be used.
    """
    if dtype not in DTYPES:
        raise UserError(f"dtype {dtype!r} found, expected one of: {', '.join(DTYPES)}.")
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
        attn_implementation=attn_implementation,
    )
    model = _assemble(config, speech_encoder, causal_lm, seed)
    model.generation_config = _generation_config(causal_lm, tokenizer, processor)
    model.lora_settings = lora or LoraSettings()
    model.foundation = foundation
    return model.eval(), processor


def add_embedding_rows(causal_lm: PreTrainedModel, new_ids: Sequence[int], *, seed: int) -> None:
    """Give `new_ids` embedding and head rows: the mean of the rows below them plus a little seeded noise.

    They take the rows that the model has to spare (Babel has 152,064 for about 151,665 ids); only where these do not
    suffice do the matrices grow. They never shrink.
    """
    if not new_ids:
        return
    rows, total = causal_lm.get_input_embeddings().num_embeddings, max(new_ids) + 1
    if total > rows:
        with torch.random.fork_rng(devices=[]):  # new rows are random until they are set below
            causal_lm.resize_token_embeddings(total, pad_to_multiple_of=ROWS_MULTIPLE, mean_resizing=False)
    known = min(rows, *new_ids)
    matrices = (causal_lm.get_input_embeddings(), causal_lm.get_output_embeddings())
    weights = {id(module.weight): module.weight for module in matrices}  # one where they are tied
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in weights.values():
            mean = weight[:known].mean(0, dtype=torch.float32)
            spread = weight[: min(known, 4096)].float().std()
            noise = torch.randn(len(new_ids), weight.shape[1], generator=generator).to(weight.device)
            weight[rows:] = mean.to(weight.dtype)  # rows that the matrix grew by, some of them without an id
            weight[list(new_ids)] = (mean + NEW_ROW_NOISE * spread * noise).to(weight.dtype)


def _assemble(config: SpeechLLMConfig, encoder: SpeechEncoder, causal_lm: PreTrainedModel, seed: int) -> SpeechLLM:
    """Put the loaded models and a new projector into a speech LLM laid out without memory of its own."""
    with torch.device("meta"):
        model = SpeechLLM(config)
    dtype = causal_lm.dtype
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        projector = Projector(encoder.config.d_model, config.text_config.hidden_size, hidden=config.projector_hidden)
    model.model.encoder = encoder
    model.model.projector = projector.to(dtype)
    model.model.language_model = causal_lm.base_model
    model.lm_head = causal_lm.get_output_embeddings()
    model.config.dtype = dtype
    return model


def _generation_config(
    causal_lm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, processor: SpeechProcessor
) -> GenerationConfig:
    """Ends, padding, and what is never generated: the placeholder and rows without an id.

    The language model's own sampling settings (temperature, penalties) are left behind: a decoding states its own.
    """
    without_id = set(range(causal_lm.get_input_embeddings().num_embeddings)) - set(tokenizer.get_vocab().values())
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=processor.end_token_id,
        pad_token_id=processor.pad_token_id,
        suppress_tokens=[processor.audio_token_id, *sorted(without_id)],
    )
