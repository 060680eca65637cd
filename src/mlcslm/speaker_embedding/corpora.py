"""Speaker corpora as folders (CN-Celeb, VoxBlink): an index of each speaker's utterances.

A corpus has up to ten million files, so it is listed once, by name only: no file is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mlcslm.config.diarization import SpeakerCorpusConfig
from mlcslm.corpus.layout import AUDIO_SUFFIXES
from mlcslm.errors import UserError
from mlcslm.io.files import atomic_path
from mlcslm.runtime.progress import say, watched

SCHEMA = pa.schema([pa.field("speaker", pa.string(), nullable=False), pa.field("path", pa.string(), nullable=False)])
"""An index: one row per utterance, grouped by speaker; `path` is relative to the folder in the metadata `root`."""

ROOT = b"root"
_ROWS_AT_ONCE = 100_000


def index_speakers(
    name: str, corpus: SpeakerCorpusConfig, out: str | os.PathLike[str], *, skip_faulty: bool = False
) -> tuple[int, int]:
    """Write the index of speaker corpus `name` (`SCHEMA`), sorted by speaker and path; return how many of each.

    Speakers without a wav or flac file are skipped and counted on standard error. Raises UserError if the folder is
    missing, fewer than two speakers are found, or, without `skip_faulty`, a folder cannot be listed.
    """
    root = Path(corpus.folder)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder. Expected the speaker corpus {name}{_source(corpus)}.")
    folders = sorted(path for path in root.glob(corpus.speakers) if path.is_dir() and not path.name.startswith("."))
    speakers = utterances = 0
    rows: list[dict[str, str]] = []
    with (
        atomic_path(out) as temporary,
        pq.ParquetWriter(
            temporary, SCHEMA.with_metadata({ROOT: str(root).encode()}), write_page_checksum=True
        ) as writer,
    ):
        for folder in watched(folders, f"listing {name}", "speaker"):
            speaker = folder.relative_to(root).as_posix()
            found = [
                {"speaker": speaker, "path": path.relative_to(root).as_posix()}
                for path in _audio_below(folder, skip_faulty)
            ]
            rows += found
            speakers, utterances = speakers + bool(found), utterances + len(found)
            if len(rows) >= _ROWS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
        if speakers < 2:
            raise UserError(
                f"{root}: {speakers} speaker(s) with wav or flac files in folders matching {corpus.speakers!r}; "
                f"expected the speaker corpus {name}{_source(corpus)}. Correct speaker_corpora.{name}.speakers, the "
                "pattern of each speaker's folder."
            )
    if speakers < len(folders):
        say(f"{name}: skipped {len(folders) - speakers} folders without wav or flac files")
    return speakers, utterances


def _source(corpus: SpeakerCorpusConfig) -> str:
    return f" ({corpus.source})" if corpus.source else ""


def _audio_below(folder: Path, skip_faulty: bool) -> Iterator[Path]:
    """Audio files at any depth, sorted so that draws are the same on every machine; follows links."""

    def refuse(error: OSError) -> None:
        message = f"{error.filename}: cannot list the folder: {error.strerror}."
        if not skip_faulty:
            raise UserError(f"{message} Repair it, or skip it with corpus.skip_faulty.")
        say(f"skipped: {message}")

    for parent, below, names in os.walk(folder, onerror=refuse, followlinks=True):
        below.sort()
        for name in sorted(names):
            if name.lower().endswith(AUDIO_SUFFIXES) and not name.startswith("."):
                yield Path(parent, name)
