"""Tiny random foundation models, saved as a hub would give them and loaded through the same code as real ones, and a
corpus of tones that they can learn from. What needs torch is imported where it is used: most tests do without."""

from __future__ import annotations

import csv
import os
import signal
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
TOGETHER = ("workflow", "faults", "training", "decoding", "model")
"""Folders whose tests share what is trained, in the order in which they begin."""
TONES = {200: "yes", 500: "no", 1200: "hello", 2800: "there"}
"""The language of the tone corpus: Hz and the word it means."""


SLOW_FIXTURES = {"train", "trained", "finished", "undisturbed", "cluster", "browser", "benchmark"}
"""Fixtures that train, run the workflow, or start a browser or a program: what uses one is slow."""


def pytest_configure() -> None:
    """Let a property's examples take as long as they do: what else the machine does is no fault of the code.

    And let processes be interrupted, also where the tests run in a shell's background, which ignores SIGINT for all.
    """
    from hypothesis import settings

    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as slow what needs a slow fixture. With `-n` of pytest-xdist, keep together what shares costly fixtures, the
    longest first: the whole workflow."""
    for item in items:
        if not SLOW_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    if not config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder in TOGETHER else str(item.path)))
    items.sort(key=lambda item: TOGETHER.index(item.path.parent.name) if item.path.parent.name in TOGETHER else 99)


@pytest.fixture(scope="session")
def languages() -> dict[str, Any]:
    from mlcslm.config.languages import read_languages

    return read_languages(SHEET)


@pytest.fixture(scope="session")
def published_sums() -> Callable[..., list[dict[str, Any]]]:
    """Counts that the challenge published for its two baselines on dev, summed over each group; by track.

    `scored` is the number of utterances (Track 1) or recordings (Track 2); a run-on has fifty insertions or more.
    """
    with open(Path(__file__).parent / "published" / "dev_baselines.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    def of_track(track: int) -> list[dict[str, Any]]:
        return [
            {name: int(value) if value.isdecimal() else value for name, value in row.items()}
            for row in rows
            if row["track"] == str(track)
        ]

    return of_track


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
    folder: Path, *, kind: str = "qwen2", tied: bool = False, spare: int = 0, seed: int = 2, width: int = 32
) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    size = save_tokenizer(folder)
    shared = {
        "vocab_size": size + spare,
        "hidden_size": width,
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


def write_tones(root: Path, groups: dict[str, Any], *, turns: int = 12, seed: int = 0) -> None:
    """One session a group, in which two speakers say words of `TONES`, one to four a turn, each 0.2 s long."""
    import numpy as np

    from mlcslm.corpus.layout import Utterance, write_session

    rng = np.random.default_rng(seed)
    time = np.arange(3200) / 16_000
    for group in groups.values():
        audio, utterances = [np.zeros(1600)], []
        for turn in range(turns):
            pitches = rng.choice(list(TONES), size=1 + turn % 4)
            start = sum(map(len, audio)) / 16_000
            audio += [0.3 * np.sin(2 * np.pi * pitch * time) for pitch in pitches]
            end = sum(map(len, audio)) / 16_000
            utterances.append(Utterance(f"O{turn % 2 + 1}", start, end, " ".join(TONES[p] for p in pitches)))
            audio.append(np.zeros(800))
        mixture = np.concatenate(audio) + rng.normal(0, 0.01, sum(map(len, audio)))
        write_session(root, group, "0001_001", mixture, 16_000, utterances)


@pytest.fixture(scope="session")
def make_tones() -> Callable[..., None]:
    return write_tones


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory, languages: dict[str, Any]) -> Path:
    """Manifest of 24 utterances of the tone corpus in two groups."""
    from mlcslm.corpus.manifest import build_manifest, write_manifest

    folder = tmp_path_factory.mktemp("tones")
    groups = {name: languages[name] for name in ("English-American", "French")}
    write_tones(folder / "train", groups)
    write_manifest(build_manifest(folder / "train", languages)[0], folder / "train.parquet")
    return folder / "train.parquet"


@pytest.fixture(scope="session")
def make_config(encoder_folder: str, language_model_folder: str) -> Callable[..., Any]:
    """Configuration of tiny models with the given stages; other sections by name."""
    from mlcslm.config.reading import parse_config

    def make(stages: dict[str, dict[str, Any]], **sections: Any) -> Any:
        usual = {"parent": "foundation", "trains": ["projector"], "template": "plain", "batch_size": 4}
        values: dict[str, Any] = {
            "languages": str(SHEET),
            "tables": str(REPOSITORY / "config" / "tables.yaml"),
            "models": {"encoder": encoder_folder, "language_model": language_model_folder, "projector_hidden": 32},
            "augmentation": {"probability": 0},
            "stages": {name: usual | stage for name, stage in stages.items()},
            "decodings": {"greedy": {}},
        }
        models = values["models"] | sections.pop("models", {})
        return parse_config(values | {"models": models} | sections)

    return make


@pytest.fixture(scope="session")
def train(tones: Path) -> Callable[..., Path]:
    """Train a stage of a configuration below a folder, in this process; returns the checkpoint's folder."""

    def run(config: Any, name: str, root: Path, **paths: Any) -> Path:
        from mlcslm.training.settings import StagePaths
        from mlcslm.training.stage import train_stage

        parent = config.stages[name].parent
        usual: dict[str, Any] = {
            "out": root / name,
            "work": root / "work" / name,
            "manifest": tones,
            "parent": None if parent == "foundation" else root / parent,
        }
        train_stage(name, config, StagePaths(**(usual | paths)))
        return root / name

    return run
