"""Speech LLMs built from the tiny foundation models of tests/conftest.py, and their inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mlcslm.config.languages import Group
from mlcslm.model.build import build_speech_llm
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


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
