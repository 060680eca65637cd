"""Where the files of the diarization lie, and which embedding a diarizer waits for. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from mlcslm.config import Config
from mlcslm.config_diarization import EmbeddingConfig


class DiarizationLayout:
    """Paths below the results folder `root` of a configuration."""

    def __init__(self, config: Config, root: Path) -> None:
        self.config = config
        self.root = root

    def embedding(self, name: str) -> Path:
        """Folder of a speaker embedding that is trained here."""
        return self.root / "embeddings" / name

    def embedding_of(self, diarizer: str) -> EmbeddingConfig:
        """The speaker embedding of a diarizer."""
        return self.config.embeddings[self.config.diarizers[diarizer].embedding]

    def embedding_file(self, diarizer: str) -> list[str]:
        """The weights that a diarizer waits for; nothing where its embedding is a public checkpoint."""
        if self.embedding_of(diarizer).checkpoint:
            return []
        return [str(self.embedding(self.config.diarizers[diarizer].embedding) / "model.safetensors")]

    def checkpoint_file(self, diarizer: str) -> str:
        """`checkpoint.json` of what transcribes a diarizer's segments."""
        return str(self.root / "checkpoints" / self.config.diarizers[diarizer].asr.checkpoint / "checkpoint.json")
