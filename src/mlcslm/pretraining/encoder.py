"""Pretrain the demo's Whisper-shaped encoder with a CTC head over characters, which is then dropped."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.audio_utils import hertz_to_mel, mel_to_hertz

from mlcslm.errors import UserError
from mlcslm.io.files import atomic_folder, atomic_path
from mlcslm.model.encoder import SpeechEncoder
from mlcslm.pretraining.phases import MODEL_FILES, train_phase
from mlcslm.text.characters import characters

_BLANK = 0
_KNOTS = 6  # of the curves that vary voices


@dataclass(frozen=True)
class EncoderPhase:
    """A phase of pretraining: the learning rate warms up, stays constant, and falls to 0 in the last `falling_steps`.

    varied_share: share of utterances whose voice is varied (`vary_voices`).
    """

    steps: int
    learning_rate: float
    falling_steps: int
    varied_share: float = 0.0


@dataclass(frozen=True)
class EncoderRecipe:
    """Size of the encoder and how it is trained. Each phase starts with a new optimiser state."""

    width: int = 192
    layers: int = 4
    heads: int = 4
    mels: int = 80
    phases: tuple[EncoderPhase, ...] = (
        EncoderPhase(steps=9000, learning_rate=1.5e-3, falling_steps=6300),
        EncoderPhase(steps=3200, learning_rate=1e-3, falling_steps=2800, varied_share=0.8),
        EncoderPhase(steps=3400, learning_rate=1e-3, falling_steps=3200, varied_share=0.9),
    )
    batch: int = 32
    warmup_steps: int = 400
    seed: int = 17


class CtcEncoder(nn.Module):
    """Whisper's encoder and a linear CTC head."""

    def __init__(self, recipe: EncoderRecipe, vocabulary: str) -> None:
        super().__init__()
        config = WhisperConfig(
            d_model=recipe.width,
            encoder_layers=recipe.layers,
            encoder_attention_heads=recipe.heads,
            encoder_ffn_dim=4 * recipe.width,
            num_mel_bins=recipe.mels,
            decoder_layers=1,
            decoder_attention_heads=recipe.heads,
            decoder_ffn_dim=recipe.width,
            vocab_size=8,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=1,
            attn_implementation="sdpa",  # type: ignore[call-arg] # any configuration accepts it
        )
        config.begin_suppress_tokens = config.suppress_tokens = None
        self.config = config
        self.encoder = SpeechEncoder(config)
        self.head = nn.Linear(recipe.width, len(vocabulary) + 1)

    def forward(self, mels: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (batch, time at 50 Hz, characters) and their lengths, from mels (batch, mels, time)."""
        mask = torch.arange(mels.shape[-1])[None] < frames[:, None]
        hidden, _ = self.encoder(mels, mask)
        return self.head(hidden).float().log_softmax(-1), (frames + 1) // 2


class SpeechPool:
    """The utterances of `write_speech_pool`, in batches of similar length."""

    def __init__(self, folder: str | os.PathLike[str], mels: int) -> None:
        folder = Path(folder)
        with open(folder / "index.jsonl", encoding="utf-8") as file:
            self.utterances = [json.loads(line) for line in file]
        self.frames = np.memmap(folder / "mels.f16", np.float16, "r").reshape(-1, mels)
        self.vocabulary = "".join(sorted(set("".join(characters(u["text"]) for u in self.utterances))))
        ids = {character: number for number, character in enumerate(self.vocabulary, start=1)}
        self.labels = [[ids[c] for c in characters(u["text"])] for u in self.utterances]

    def batch(self, members: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mels (batch, mels, time), frames (batch,), concatenated labels, label lengths (batch,)."""
        chosen = [self.utterances[i] for i in members]
        frames = torch.tensor([u["frames"] for u in chosen])
        mels = torch.zeros(len(chosen), self.frames.shape[1], int(frames.max()))
        for row, u in enumerate(chosen):
            part = self.frames[u["first"] : u["first"] + u["frames"]]
            mels[row, :, : u["frames"]] = torch.from_numpy(part.astype(np.float32)).T
        labels = [self.labels[i] for i in members]
        return (
            mels,
            frames,
            torch.tensor(list(itertools.chain(*labels))),
            torch.tensor([len(label) for label in labels]),
        )

    def epoch(self, size: int, rng: np.random.Generator) -> list[np.ndarray]:
        """Batches of one pass, in random order, each with utterances of similar length."""
        order = rng.permutation(len(self.utterances))
        batches: list[np.ndarray] = []
        for start in range(0, len(order), size * 50):
            part = order[start : start + size * 50]
            part = part[np.argsort([self.utterances[i]["frames"] for i in part], kind="stable")]
            batches += [part[i : i + size] for i in range(0, len(part) - size + 1, size)]
        rng.shuffle(batches)
        return batches


def vary_voices(mels: torch.Tensor, frames: torch.Tensor, share: float, rng: np.random.Generator) -> torch.Tensor:
    """Log-mels (B, M, F) with another vocal tract in a `share` of the utterances; padding stays as it is.

    Vocal tract length perturbation (Jaitly and Hinton, 2013) by a factor of 0.8 to 1.25, which varies by about 5 %
    across the spectrum, and a smooth gain of about 3 dB: the differences between espeak-ng's voices.
    """
    count, bins = mels.shape[:2]
    varied = rng.random(count) < share
    knots = np.linspace(0, bins - 1, _KNOTS)
    stretch = rng.uniform(np.log(0.8), np.log(1.25), (count, 1)) + rng.normal(0, 0.05, (count, _KNOTS))
    gain = rng.normal(0, 0.08, (count, _KNOTS))  # Whisper's log-mels: 0.25 is 10 dB
    smooth = [np.stack([np.interp(np.arange(bins), knots, row) for row in curve]) for curve in (stretch, gain)]
    hertz = mel_to_hertz(np.linspace(0, hertz_to_mel(8000.0, "slaney"), bins), "slaney")
    positions = hertz_to_mel(hertz * np.exp(smooth[0] * varied[:, None]), "slaney")
    positions = np.clip(positions / hertz_to_mel(8000.0, "slaney") * (bins - 1), 0, bins - 1)
    floors = np.minimum(positions.astype(np.int64), bins - 2)
    part = torch.from_numpy((positions - floors).astype(np.float32)).unsqueeze(-1)
    rows = torch.arange(count).unsqueeze(-1)
    low = torch.from_numpy(floors)
    warped = mels[rows, low] * (1 - part) + mels[rows, low + 1] * part
    gains = torch.from_numpy((smooth[1] * varied[:, None]).astype(np.float32)).unsqueeze(-1)
    return warped + gains * (torch.arange(mels.shape[-1]) < frames[:, None]).unsqueeze(1)


def pretrain_encoder(
    pool_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    log: str | os.PathLike[str],
    recipe: EncoderRecipe,
) -> None:
    """Train on the pool; write the encoder as a Whisper folder (config, float16 safetensors, feature extractor)."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    pool = SpeechPool(pool_folder, recipe.mels)
    if len(pool.utterances) < recipe.batch:
        raise UserError(
            f"{pool_folder}: found {len(pool.utterances)} utterances, but a batch needs {recipe.batch}; increase hours."
        )
    model = CtcEncoder(recipe, pool.vocabulary)
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as lines:
        for phase in recipe.phases:
            for row in _train(model, pool, recipe, phase, rng):
                lines.write(json.dumps(asdict(phase) | row) + "\n")
                lines.flush()
                if row["step"] % 1000 == 0:
                    _save(model, recipe, out, pool.vocabulary)
            _save(model, recipe, out, pool.vocabulary)


def _train(
    model: CtcEncoder, pool: SpeechPool, recipe: EncoderRecipe, phase: EncoderPhase, rng: np.random.Generator
) -> Iterator[dict[str, float]]:
    """Train one phase; yield the mean loss every 50 steps."""
    batches: list[np.ndarray] = []

    def loss_of_batch() -> torch.Tensor:
        batches[:] = batches or pool.epoch(recipe.batch, rng)
        mels, frames, labels, label_lengths = pool.batch(batches.pop())
        if phase.varied_share:
            mels = vary_voices(mels, frames, phase.varied_share, rng)
        with torch.autocast("cpu", torch.bfloat16):
            scores, lengths = model(mels, frames)
        return nn.functional.ctc_loss(
            scores.transpose(0, 1), labels, lengths, label_lengths, blank=_BLANK, zero_infinity=True
        )

    def factor(step: int) -> float:
        return max(0.0, min(1.0, (step + 1) / recipe.warmup_steps, (phase.steps - step) / phase.falling_steps))

    return train_phase(model, phase.steps, phase.learning_rate, factor, loss_of_batch)


def _save(model: CtcEncoder, recipe: EncoderRecipe, out: str | os.PathLike[str], vocabulary: str) -> None:
    from safetensors.torch import save_file

    with atomic_folder(out, "foundation model", own=MODEL_FILES) as folder:
        tensors = {
            f"model.encoder.{name}": tensor.to(torch.float16).contiguous()
            for name, tensor in model.encoder.state_dict().items()
        }
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        config = model.config.to_dict() | {"architectures": ["WhisperForConditionalGeneration"], "dtype": "float16"}
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        WhisperFeatureExtractor(feature_size=recipe.mels).save_pretrained(folder)
    # The head is not part of the model; keep it next to it to measure the character error rate.
    head = {name: tensor.contiguous() for name, tensor in model.head.state_dict().items()}
    with atomic_path(head_of(out)) as file:
        save_file(head, file, metadata={"vocabulary": vocabulary})


def head_of(encoder_folder: str | os.PathLike[str]) -> Path:
    """File of the CTC head with which an encoder was pretrained."""
    folder = Path(encoder_folder)
    return folder.with_name(f"{folder.name}_ctc_head.safetensors")
