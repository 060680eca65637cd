"""Tiny random foundation models, saved as a hub would give them and loaded through the same code as real ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from mlcslm.languages import Group, read_languages
from mlcslm.model.build import build_speech_llm
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM

SHEET = Path(__file__).parents[2] / "config" / "languages.tsv"
SENTENCES = [
    "USER: Transcribe the speech above ASSISTANT: hello there",
    "Transcrivez le discours",
    "上の音声を書き起こす",
]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def languages() -> dict[str, Group]:
    return read_languages(SHEET)


def save_tokenizer(folder: Path) -> int:
    """A byte-level BPE of 300 tokens; returns its size."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    fast.save_pretrained(folder)
    return len(fast)


def save_encoder(folder: Path, *, mels: int = 80, positions: int = 1500, seed: int = 1) -> Path:
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


@pytest.fixture(scope="session", params=["qwen2-untied", "llama-tied"])
def lm_folder(request: pytest.FixtureRequest, make_language_model: Callable[..., str]) -> str:
    kind, tie = request.param.split("-")
    return make_language_model(kind=kind, tied=tie == "tied")


@pytest.fixture
def built(encoder_folder: str, lm_folder: str, languages: dict[str, Group]) -> tuple[SpeechLLM, SpeechProcessor]:
    return build_speech_llm(encoder=encoder_folder, language_model=lm_folder, languages=languages, projector_hidden=16)


@pytest.fixture
def audio() -> list[np.ndarray]:
    """Sixteen noisy tones of 0.05 to 4 s."""
    random = np.random.default_rng(0)
    seconds = [3.9, 0.05, 1.234, 4.0, *random.uniform(0.1, 4, 12)]
    times = [np.arange(int(length * 16_000)) / 16_000 for length in seconds]
    return [
        (np.sin(2 * np.pi * random.uniform(100, 2000) * t) * 0.3 + random.normal(0, 0.05, len(t))).astype(np.float32)
        for t in times
    ]


@pytest.fixture
def make_examples(audio: list[np.ndarray]) -> Callable[..., list[dict]]:
    """Examples (or with `prompt_only` prompts) of the first `count` utterances, with their features."""

    def make(processor: SpeechProcessor, count: int = 16, prompt_only: bool = False) -> list[dict]:
        features, mask = processor.log_mel(audio[:count])
        examples = []
        for row, samples in enumerate(audio[:count]):
            length = processor.audio_token_count(len(samples))
            if prompt_only:
                example = {"input_ids": processor.encode_prompt("French", "tagged", audio_tokens=length)}
            else:
                text = "ça va " * (row % 3 + 1)
                example = processor.encode_example("French", "tagged", audio_tokens=length, transcript=text)
            examples.append(example | {"input_features": features[row][:, mask[row]]})
        return examples

    return make
