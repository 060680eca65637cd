"""Pretrain the demo's Whisper-shaped encoder with a CTC head over characters, which is then dropped."""

from __future__ import annotations

import itertools
import json
import os
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import WhisperConfig, WhisperFeatureExtractor

from mlcslm.errors import UserError
from mlcslm.files import atomic_path
from mlcslm.model.encoder import SpeechEncoder
from mlcslm.text.protocols import normalise_reference

_BLANK = 0


@dataclass(frozen=True)
class EncoderRecipe:
    """Size of the encoder and how it is trained."""

    width: int = 192
    layers: int = 4
    heads: int = 4
    mels: int = 80
    steps: int = 9000
    batch: int = 32
    learning_rate: float = 1.5e-3
    warmup_steps: int = 400
    falling_steps: int = 6300  # the last ones, in which the learning rate falls to nothing
    seed: int = 17


def characters(text: str) -> str:
    """What the CTC head spells: the reference text of `mlcslm-2025`, Korean syllables taken apart (NFD).

    >>> characters("Yes, of course.")
    'yes of course'
    """
    plain = normalise_reference(text)
    return "".join(unicodedata.normalize("NFD", c) if "가" <= c <= "힣" else c for c in plain)


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
            attn_implementation="sdpa",
        )
        config.begin_suppress_tokens = config.suppress_tokens = None
        self.config = config
        self.encoder = SpeechEncoder(config)
        self.head = nn.Linear(recipe.width, len(vocabulary) + 1)

    def forward(self, mels: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (batch, time at 50 Hz, characters), and their lengths, of mels (batch, mels, time)."""
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
        """Mels (batch, mels, time), frames (batch,), labels one after the other, label lengths (batch,)."""
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
        """Batches of one pass, each of utterances of similar length, in random order."""
        order = rng.permutation(len(self.utterances))
        batches: list[np.ndarray] = []
        for start in range(0, len(order), size * 50):
            part = order[start : start + size * 50]
            part = part[np.argsort([self.utterances[i]["frames"] for i in part], kind="stable")]
            batches += [part[i : i + size] for i in range(0, len(part) - size + 1, size)]
        rng.shuffle(batches)
        return batches


def pretrain_encoder(
    pool_folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    log: str | os.PathLike[str],
    recipe: EncoderRecipe,
) -> None:
    """Train on the pool and write the encoder as a Whisper folder (config, float16 safetensors, feature extractor)."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    pool = SpeechPool(pool_folder, recipe.mels)
    if len(pool.utterances) < recipe.batch:
        raise UserError(
            f"{pool_folder}: {len(pool.utterances)} utterances, a batch needs {recipe.batch}; speak longer."
        )
    model = CtcEncoder(recipe, pool.vocabulary)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe))
    batches: list[np.ndarray] = []
    started = time.monotonic()
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as lines:
        running = 0.0
        for step in range(1, recipe.steps + 1):
            batches = batches or pool.epoch(recipe.batch, rng)
            mels, frames, labels, label_lengths = pool.batch(batches.pop())
            with torch.autocast("cpu", torch.bfloat16):
                scores, lengths = model(mels, frames)
            loss = nn.functional.ctc_loss(
                scores.transpose(0, 1), labels, lengths, label_lengths, blank=_BLANK, zero_infinity=True
            )
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            running += loss.item()
            if step % 50 == 0:
                lines.write(
                    json.dumps({"step": step, "loss": running / 50, "seconds": time.monotonic() - started}) + "\n"
                )
                lines.flush()
                running = 0.0
            if step % 1000 == 0:
                _save(model, recipe, out, pool.vocabulary)
    _save(model, recipe, out, pool.vocabulary)


def _rate(step: int, recipe: EncoderRecipe) -> float:
    """Factor of the learning rate: warm-up, constant, linear decay."""
    return max(0.0, min(1.0, (step + 1) / recipe.warmup_steps, (recipe.steps - step) / recipe.falling_steps))


def _save(model: CtcEncoder, recipe: EncoderRecipe, out: str | os.PathLike[str], vocabulary: str) -> None:
    from safetensors.torch import save_file

    with atomic_path(out) as folder:
        folder.mkdir()
        tensors = {
            f"model.encoder.{name}": tensor.to(torch.float16).contiguous()
            for name, tensor in model.encoder.state_dict().items()
        }
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        config = model.config.to_dict() | {"architectures": ["WhisperForConditionalGeneration"], "dtype": "float16"}
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        WhisperFeatureExtractor(feature_size=recipe.mels).save_pretrained(folder)
    # The head is not part of the model: kept beside it, to measure the character error rate.
    head = {name: tensor.contiguous() for name, tensor in model.head.state_dict().items()}
    with atomic_path(head_of(out)) as file:
        save_file(head, file, metadata={"vocabulary": vocabulary})


def head_of(encoder_folder: str | os.PathLike[str]) -> Path:
    """File of the CTC head that an encoder was pretrained with."""
    folder = Path(encoder_folder)
    return folder.with_name(f"{folder.name}_ctc_head.safetensors")
