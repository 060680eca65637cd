"""Tiny random foundation models, saved as a hub would give them and loaded through the same code as real ones, and a
corpus of tones that they can learn from. What needs torch is imported where it is used: most tests do without."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported, here or in a child process: tiny models are ten times faster on one thread.
os.environ["OMP_NUM_THREADS"] = "1"

REPOSITORY = Path(__file__).parents[1]
SHEET = REPOSITORY / "config" / "languages.tsv"
TOKENIZER_TEXT = [
    "USER: Transcribe the speech above ASSISTANT: hello there",
    "Transcrivez le discours",
    "上の音声を書き起こす",
]
TONES = {200: "yes", 500: "no", 1200: "hello", 2800: "there"}
"""The language of the tone corpus: Hz and the word it means."""


@pytest.fixture(scope="session")
def languages() -> dict[str, Any]:
    from mlcslm.languages import read_languages

    return read_languages(SHEET)


def save_tokenizer(folder: Path) -> int:
    """A byte-level BPE of 300 tokens; returns its size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TOKENIZER_TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(folder)
    return len(fast)


def save_encoder(folder: Path, *, mels: int = 80, positions: int = 1500, seed: int = 1) -> Path:
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    torch.manual_seed(seed)
    config = WhisperConfig(
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_mel_bins=mels,
        max_source_positions=positions,
        vocab_size=60,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=mels).save_pretrained(folder)
    return folder


def save_language_model(
    folder: Path, *, kind: str = "qwen2", tied: bool = False, spare: int = 0, seed: int = 2
) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    size = save_tokenizer(folder)
    shared = {
        "vocab_size": size + spare,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": tied,
        "initializer_range": 0.3,
    }
    model = Qwen2ForCausalLM(Qwen2Config(**shared)) if kind == "qwen2" else LlamaForCausalLM(LlamaConfig(**shared))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    return lambda **options: str(save_encoder(tmp_path_factory.mktemp("encoder"), **options))


@pytest.fixture(scope="session")
def make_language_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    return lambda **options: str(save_language_model(tmp_path_factory.mktemp("lm"), **options))


@pytest.fixture(scope="session")
def encoder_folder(make_encoder: Callable[..., str]) -> str:
    return make_encoder()


@pytest.fixture(scope="session")
def language_model_folder(make_language_model: Callable[..., str]) -> str:
    return make_language_model()
