"""Readers of corpora to fuzz: file name, function of its path, accepted contents. `readers.py` includes them.

The functions may only raise UserError.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mlcslm.config.languages import Group, read_languages
from mlcslm.corpus.audio import read_audio, read_header, read_segment
from mlcslm.corpus.manifest import read_corpus
from mlcslm.corpus.samples import inspect_audio
from mlcslm.corpus.transcripts import read_transcript

LANGUAGES = Path(__file__).parents[2] / "config" / "languages.tsv"


def wav(subtype: str = "PCM_16", form: str = "WAV", channels: int = 1, seconds: float = 0.25) -> bytes:
    """A recording of noise."""
    file = io.BytesIO()
    samples = 0.1 * np.random.default_rng(1).uniform(-1, 1, (round(8000 * seconds), channels))
    soundfile.write(file, samples, 8000, format=form, subtype=subtype)
    return file.getvalue()


KALDI = {
    "wav.scp": b"call1 call1.wav\ncall2 flac -c -d -s call1.wav |\n",
    "segments": b"French-1-O1-1 call1 0 0.1\nFrench-1-O2-2 call1 0.1 -1\n",
    "text": "French-1-O1-1 Ça va ?\nFrench-1-O2-2 oui\u00a0!\r\n".encode(),
    "utt2spk": b"French-1-O1-1 French-1-O1\nFrench-1-O2-2 French-1-O2\n",
    "utt2lang": b"French-1-O1-1 fr\nFrench-1-O2-2 French\n",
}
RECORDING = {"id": "call1", "sources": [{"type": "file", "channels": [0], "source": "call1.wav"}], "channel_ids": [0]}
RECORDING |= {"sampling_rate": 8000, "num_samples": 2000, "duration": 0.25}
SUPERVISION = {"id": "u1", "recording_id": "call1", "start": 0, "duration": 0.1, "channel": 0, "text": "Ça va ?"}
SUPERVISION |= {"language": "fr", "speaker": "call1-A", "custom": {"group": "French", "end": 0.1}}
LHOTSE = {
    "c_recordings.jsonl": json.dumps(RECORDING).encode() + b"\n",
    "c_supervisions.jsonl": json.dumps(SUPERVISION).encode() + b"\n\n",
}
TRANSCRIPT = "0.5\t1.25\tO1\t Ça va ? \n1.0\t2\tO2\tไม่ \u2028OK\r\n".encode()


def _read_audio(path: Path) -> None:
    """Header and samples agree on the length of a recording, and segments can be read."""
    header, found = read_header(path), inspect_audio(path)
    if header != found.header:
        raise AssertionError(f"{header} became {found.header}")
    read_segment(path, 0.1, 0.2)
    read_audio(path, header.sample_rate)


def _read_folder(path: Path, others: dict[str, bytes]) -> None:
    """Read the corpus of which `path` is one file; the others are valid."""
    for name, content in {**others, "call1.wav": wav()}.items():
        if name != path.name and not (path.parent / name).is_file():
            (path.parent / name).write_bytes(content)
    read_corpus(path.parent, languages(), skip_faulty=False)


@lru_cache
def languages() -> dict[str, Group]:
    """The languages table."""
    return read_languages(LANGUAGES)


CORPUS_READERS: tuple[tuple[str, Callable[[Path], Any], Sequence[bytes]], ...] = (
    ("0001.txt", partial(read_transcript, duration=10.0), (TRANSCRIPT, b"0\t1\tO1\n2\t3\tO2\n")),
    (
        "a.wav",
        _read_audio,
        [
            wav(),
            wav("FLOAT", channels=2),
            wav("PCM_24", "WAVEX"),
            wav("PCM_16", "RF64"),
            wav("PCM_16", "FLAC"),
            wav("ULAW"),
        ],
    ),
    *((name, partial(_read_folder, others=KALDI), (content,)) for name, content in KALDI.items()),
    *((name, partial(_read_folder, others=LHOTSE), (content,)) for name, content in LHOTSE.items()),
)
"""Each needs a folder of its own, in which the function may write."""
