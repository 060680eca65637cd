"""A corpus of voices that are told apart by two formants, quick to make and quick to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from mlcslm.corpus.manifest import SCHEMA

RATE = 16_000


def voice(formants: tuple[float, float], seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Bursts of two tones over a little noise: (samples,) float32."""
    time = np.arange(round(seconds * RATE)) / RATE
    phases = rng.uniform(0, 6, 2)
    tones = sum(
        weight * np.sin(2 * np.pi * formant * time + phase)
        for weight, formant, phase in zip((1.0, 0.5), formants, phases, strict=True)
    )
    bursts = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(2, 5) * time + rng.uniform(0, 6))
    return (0.1 * tones * bursts + rng.normal(0, 0.003, len(time))).astype(np.float32)


def write_voices(folder: Path, name: str, sessions: int, seed: int) -> Path:
    """Sessions of two voices, six utterances each in turns of a second; returns the manifest."""
    rng = np.random.default_rng(seed)
    rows = []
    for session in range(sessions):
        voices = [(rng.uniform(300, 900), rng.uniform(1200, 3500)) for _ in range(2)]
        audio = [voice(voices[turn % 2], 1.0, rng) for turn in range(12)]
        path = folder / f"{name}-{session}.wav"
        soundfile.write(path, np.concatenate(audio), RATE)
        rows += [
            {
                "utterance_id": f"{name}-{session}-{turn}",
                "session_id": f"{name}_{session}",
                "grp": "French",
                "speaker": f"O{turn % 2 + 1}",
                "turn": turn,
                "start": float(turn),
                "end": turn + 1.0,
                "audio": str(path),
                "sample_rate": RATE,
                "text": None,
            }
            for turn in range(12)
        ]
    manifest = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), manifest)
    return manifest


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Manifests: `train` of twelve voices, `dev` of eight others."""
    folder = tmp_path_factory.mktemp("voices")
    return {"train": write_voices(folder, "train", 6, 1), "dev": write_voices(folder, "dev", 4, 2)}
