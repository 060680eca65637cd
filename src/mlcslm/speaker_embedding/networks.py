"""The speaker embedding networks by name: how each is built, and the features it expects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlcslm.config.diarization import PUBLIC_SIZES
from mlcslm.errors import UserError
from mlcslm.speaker_embedding.base import SpeakerNetwork
from mlcslm.speaker_embedding.campplus import CAMPPlus
from mlcslm.speaker_embedding.eres2net import ERes2Net
from mlcslm.speaker_embedding.fbank import FbankSettings
from mlcslm.speaker_embedding.resnet import ResNet

NETWORKS: dict[str, type[SpeakerNetwork]] = {"campplus": CAMPPlus, "eres2net": ERes2Net, "resnet101": ResNet}

FBANK: dict[str, FbankSettings] = {
    "campplus": FbankSettings(),
    "eres2net": FbankSettings(),
    "resnet101": FbankSettings(window="hamming", factor=32768.0),
}
"""Features of the public checkpoints: 3D-Speaker's for CAM++ and ERes2Net, WeSpeaker's for ResNet-101."""


def build_network(network: str, size: Mapping[str, int | Sequence[int]] | None = None) -> SpeakerNetwork:
    """The network of that name with random weights; size: what differs from the public checkpoint's size.

    It maps (B, T, 80) mean-normalised fbank to (B, network.embedding_size). Raises UserError for an unknown name or
    size.
    """
    if network not in NETWORKS:
        raise UserError(f"speaker embedding: found {network!r}, expected one of: {', '.join(NETWORKS)}.")
    public = PUBLIC_SIZES[network]
    if unknown := sorted(set(size or {}) - set(public)):
        raise UserError(f"{network}: found size {', '.join(unknown)}, expected some of: {', '.join(public)}.")
    return NETWORKS[network](**{**public, **(size or {})})
