"""Train a speaker embedding, or convert a public one, and write its folder; interrupted training resumes."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader

from mlcslm.config.diarization import EmbeddingConfig, EmbeddingTrainingConfig
from mlcslm.config.schema import Config
from mlcslm.corpus.augmentation import make_augmenter
from mlcslm.errors import UserError
from mlcslm.io.files import atomic_path, fingerprint, sha256
from mlcslm.model.precision import model_dtype, trains_in_bfloat16
from mlcslm.runtime.interruption import Stop, between_steps, outlive_one_signal
from mlcslm.runtime.progress import progress
from mlcslm.speaker_embedding.angular_margin import AngularMarginClassifier, margin_at
from mlcslm.speaker_embedding.base import SpeakerNetwork
from mlcslm.speaker_embedding.checkpoint import load_network, save_embedding
from mlcslm.speaker_embedding.crops import SpeakerCrops
from mlcslm.speaker_embedding.embedding import SpeakerEmbedder
from mlcslm.speaker_embedding.networks import FBANK, build_network
from mlcslm.speaker_embedding.verification import verify_manifest
from mlcslm.speaker_embedding.voices import ConversationVoices, CorpusVoices, JoinedVoices, Voices

_STATE_FILE = "state.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")
_MAX_GRADIENT_NORM, _STATISTICS_BATCHES = 5.0, 8
# Settings that do not affect the weights.
_NO_INFLUENCE: dict[str, Any] = {"batch_size": True, "training": {"save_steps"}}


@dataclass(frozen=True)
class EmbeddingPaths:
    """Files of a job: out, the folder to write; work, the folder for the state of interrupted training.

    manifest: of the speakers to train on; held_out: of the voices for the equal error rate; noise, room_responses:
    folders for augmentation, or None; corpora: indices of further speakers (`corpora.SCHEMA`).
    """

    out: Path
    work: Path
    manifest: Path
    held_out: Path
    noise: Path | None = None
    room_responses: Path | None = None
    corpora: tuple[Path, ...] = ()


def train_embedding(name: str, config: Config, paths: EmbeddingPaths) -> None:
    """Train embedding `name` of `config`, or convert its public checkpoint; verify it; write `paths.out`.

    Training that was killed resumes from its last state and ends with the same weights, bit for bit on a CPU. Raises
    UserError if a checkpoint or a manifest is unusable or the loss is not finite; when asked to stop, finishes the
    step, saves its state and raises Interrupted.
    """
    embedding = config.embeddings[name]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if embedding.training is None:
        assert embedding.checkpoint is not None
        network = load_network(embedding.checkpoint, embedding.network, embedding.size)
        origin: dict[str, Any] = {"origin": embedding.checkpoint}
        work = None
    else:
        fingerprints = {
            "embedding": fingerprint(embedding.model_dump(mode="json", exclude=_NO_INFLUENCE)),
            "augmentation": fingerprint(config.augmentation.model_dump(mode="json")),
            "manifest": sha256(paths.manifest),
            **{f"corpus {path.stem}": sha256(path) for path in paths.corpora},
            "bfloat16": str(trains_in_bfloat16(config)),
        }
        work = paths.work / fingerprint({**fingerprints, "seed": config.seed})[:16]
        crops = _crops(embedding, embedding.training, config, paths)
        with between_steps() as stop:
            network = _train(embedding, embedding.training, config, crops, work, device, stop)
        origin = {
            "origin": "trained",
            "seed": config.seed,
            "speakers": crops.speakers,
            "recipe": embedding.training.model_dump(mode="json"),
            "fingerprints": fingerprints,
        }
    embedder = SpeakerEmbedder(network, device, FBANK[embedding.network])
    verification = verify_manifest(embedder, paths.held_out, batch_size=embedding.batch_size)
    print(f"{name}: equal error rate {100 * verification.eer:.1f} % on {verification.speakers} held-out voices")
    size = {key: list(value) if isinstance(value, tuple) else value for key, value in embedding.size.items()}
    card = {"network": embedding.network, "size": size, "verification": asdict(verification), **origin}
    save_embedding(paths.out, network, **card)
    if work is not None:
        shutil.rmtree(work, ignore_errors=True)


def _crops(
    embedding: EmbeddingConfig, training: EmbeddingTrainingConfig, config: Config, paths: EmbeddingPaths
) -> SpeakerCrops:
    augmentation = config.augmentation.model_copy(update={"probability": training.augmentation})
    voices: list[Voices] = [ConversationVoices(paths.manifest, training.sessions)] if training.conversations else []
    return SpeakerCrops(
        JoinedVoices([*voices, *map(CorpusVoices, paths.corpora)]),
        steps=training.steps,
        batch_size=training.batch_size,
        crop_s=training.crop_s,
        speeds=training.speeds,
        augmenter=make_augmenter(augmentation, paths.noise, paths.room_responses),
        settings=FBANK[embedding.network],
        seed=config.seed,
        skip_faulty=config.corpus.skip_faulty,
    )


def _train(
    embedding: EmbeddingConfig,
    training: EmbeddingTrainingConfig,
    config: Config,
    crops: SpeakerCrops,
    work: Path,
    device: str,
    stop: Stop,
) -> SpeakerNetwork:
    torch.manual_seed(config.seed)
    network = build_network(embedding.network, embedding.size)
    classifier = AngularMarginClassifier(crops.speakers, network.embedding_size, training.scale)
    both = nn.ModuleDict({"network": network, "classifier": classifier})
    both.to(device).train()
    optimiser = torch.optim.AdamW(both.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    first = _load_state(work / _STATE_FILE, both, optimiser, training.steps)
    mixed = model_dtype() == "bfloat16" if device == "cuda" else trains_in_bfloat16(config)
    batches = _batches(crops, first, config.resources.data_workers)
    with progress(training.steps, "train embedding", "step", initial=first) as bar:
        for step, (features, speakers) in enumerate(batches, first):
            for group in optimiser.param_groups:
                group["lr"] = training.learning_rate * _rate(step, training.steps)
            with torch.autocast(device, torch.bfloat16, enabled=mixed):
                embeddings = network(features.to(device))
            margin = margin_at(step, training.steps, training.margin, training.margin_warmup)
            loss, accuracy = classifier(embeddings.float(), speakers.to(device), margin)
            if not torch.isfinite(loss):
                raise UserError(
                    f"The loss of step {step + 1} is not finite ({loss.item()}). Lower the embedding's learning_rate."
                )
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(both.parameters(), _MAX_GRADIENT_NORM)
            optimiser.step()
            bar.update()
            if (step + 1) % max(1, training.steps // 10) == 0:
                print(f"step {step + 1}: loss {loss.item():.2f}, accuracy {accuracy.item():.0%}", file=sys.stderr)
            if (step + 1) % training.save_steps == 0 or stop.requested:
                _save_state(work / _STATE_FILE, both, optimiser, step + 1)
            stop.leave(f"the state after step {step + 1} of {training.steps}")
    _settle_statistics(network, crops, device)
    return network.eval()


@torch.no_grad()
def _settle_statistics(network: nn.Module, crops: SpeakerCrops, device: str) -> None:
    """Recompute the batch-norm statistics as means over the last batches of the training.

    Running averages still reflect weights from early in a short training.
    """
    normalisations = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [module.momentum for module in normalisations]
    for module in normalisations:
        module.reset_running_stats()
        module.momentum = None  # a plain mean over batches
    for step in range(max(0, len(crops) - _STATISTICS_BATCHES), len(crops)):
        network(crops[step][0].to(device))
    for module, momentum in zip(normalisations, momenta, strict=True):
        module.momentum = momentum


def _batches(crops: SpeakerCrops, first: int, workers: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    loader = DataLoader(
        crops,
        sampler=range(first, len(crops)),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=outlive_one_signal,
    )
    return iter(loader)


def _rate(step: int, steps: int, warmup: float = 0.1) -> float:
    """Share of the peak learning rate: linear warm-up over a tenth of the steps, then cosine decay to 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _save_state(path: Path, both: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Weights, statistics and the optimiser's moments after `step` steps, as one file of safetensors."""
    tensors = {f"model.{name}": tensor for name, tensor in both.state_dict().items()}
    for name, parameter in both.named_parameters():
        for moment in _MOMENTS:
            tensors[f"{moment}.{name}"] = optimiser.state[parameter][moment]
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"step": str(step)})


def _load_state(path: Path, both: nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> int:
    """Load the state at `path` if there is one; return its number of steps."""
    if not path.is_file():
        return 0
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
        both.load_state_dict({name: file.get_tensor(f"model.{name}") for name in both.state_dict()})
        for name, parameter in both.named_parameters():
            moments = {moment: file.get_tensor(f"{moment}.{name}").to(parameter.device) for moment in _MOMENTS}
            optimiser.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    print(f"Resuming from step {step} of {steps}.", file=sys.stderr)
    return step
