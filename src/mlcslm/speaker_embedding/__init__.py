"""Speaker embeddings: the networks, their training and checkpoints, and embedding speech with them."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.speaker_embedding.checkpoint import load_network as load_network
    from mlcslm.speaker_embedding.checkpoint import save_embedding as save_embedding
    from mlcslm.speaker_embedding.corpora import index_speakers as index_speakers
    from mlcslm.speaker_embedding.embedding import SpeakerEmbedder as SpeakerEmbedder
    from mlcslm.speaker_embedding.embedding import load_embedder as load_embedder
    from mlcslm.speaker_embedding.networks import build_network as build_network
    from mlcslm.speaker_embedding.training import EmbeddingPaths as EmbeddingPaths
    from mlcslm.speaker_embedding.training import train_embedding as train_embedding
    from mlcslm.speaker_embedding.verification import verify_manifest as verify_manifest

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.speaker_embedding.checkpoint": ("load_network", "save_embedding"),
        "mlcslm.speaker_embedding.corpora": ("index_speakers",),
        "mlcslm.speaker_embedding.embedding": ("SpeakerEmbedder", "load_embedder"),
        "mlcslm.speaker_embedding.networks": ("build_network",),
        "mlcslm.speaker_embedding.training": ("EmbeddingPaths", "train_embedding"),
        "mlcslm.speaker_embedding.verification": ("verify_manifest",),
    },
)
