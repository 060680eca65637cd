"""Foundation models for benchmarks: the demo's own if they are shipped, else random weights of a given size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, WhisperConfig
from transformers.utils import logging

from mlcslm.model.encoder import SpeechEncoder


@dataclass(frozen=True)
class Size:
    """Shapes of the two models: encoder (d, layers, heads), language model (d, layers, heads, …), projector."""

    encoder: tuple[int, int, int]
    language_model: tuple[int, int, int]
    key_value_heads: int
    feed_forward: int
    vocabulary: int
    projector_hidden: int
    tied: bool


SIZES = {
    "tiny": Size((32, 1, 2), (32, 1, 2), 1, 64, 1024, 16, True),
    "demo": Size((192, 4, 4), (192, 4, 6), 2, 512, 1024, 768, False),
    "base": Size((512, 6, 8), (576, 30, 9), 3, 1536, 49_152, 2048, True),
}
"""demo: the demo preset's; base: Whisper-base and SmolLM2-135M, as in the small preset; tiny: for tests."""
SHIPPED = Path(__file__).parents[1] / "resources" / "foundation"


def foundation_folders(size: str, work: Path, texts: Iterable[str], seed: int) -> tuple[str, str, str]:
    """Folders of encoder and language model of `size`, and whether their weights are "shipped" or "random".

    Random models are written below `work`; texts: training text for a random model's tokenizer.
    """
    folders = SHIPPED / "encoder", SHIPPED / "language_model"
    if size == "demo" and all((folder / "model.safetensors").is_file() for folder in folders):
        return str(folders[0]), str(folders[1]), "shipped"
    logging.disable_progress_bar()
    torch.manual_seed(seed)
    return _write_encoder(SIZES[size], work / "encoder"), _write_lm(SIZES[size], work / "lm", texts), "random"


def _write_encoder(size: Size, folder: Path) -> str:
    width, layers, heads = size.encoder
    config = WhisperConfig(
        d_model=width,
        encoder_layers=layers,
        encoder_attention_heads=heads,
        encoder_ffn_dim=4 * width,
        decoder_layers=1,
        decoder_attention_heads=heads,
        decoder_ffn_dim=width,
        vocab_size=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    SpeechEncoder(config).save_pretrained(folder)
    return str(folder)


def _write_lm(size: Size, folder: Path, texts: Iterable[str]) -> str:
    width, layers, heads = size.language_model
    config = Qwen2Config(
        vocab_size=size.vocabulary,
        hidden_size=width,
        intermediate_size=size.feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=size.key_value_heads,
        tie_word_embeddings=size.tied,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    byte_tokenizer(texts).save_pretrained(folder)
    return str(folder)


def byte_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE trained on the prompts, so that they take about as many tokens as with a large vocabulary."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text for text in texts for _ in range(5)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
