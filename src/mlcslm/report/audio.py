"""The sessions' audio in the report: lossless copies in a format that every browser plays and seeks in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from mlcslm.errors import UserError
from mlcslm.runtime.progress import progress

SOURCES = Path("audio/sources.json")
"""The source of each copy, so that the next report can reuse it."""
_BLOCK = 1 << 18  # samples; a session can last hours


def copy_audio(
    folder: Path, before: Path, sessions: Mapping[str, Mapping[str, str]], threads: int
) -> dict[str, dict[str, str]]:
    """Copy the sessions' audio into `folder` as FLAC; return the paths within it, by split and session.

    sessions: path of the audio, by split and session; before: folder of an earlier report, whose copies are reused if
    the source's size and time are unchanged. A session whose audio is missing or cannot be read is skipped, with a line
    on standard output. Raises UserError if a copy cannot be written.
    """
    tasks = {
        # Numbered, since sessions may have any name.
        f"audio/{split}/{number}.flac": (split, session, Path(source))
        for split, files in sessions.items()
        for number, (session, source) in enumerate(files.items())
    }
    known, sources = _read_sources(before), {}
    found: dict[str, dict[str, str]] = {split: {} for split in sessions}
    with ThreadPoolExecutor(threads) as pool, progress(len(tasks), "audio of the report", "session") as bar:

        def copy(item: tuple[str, tuple[str, str, Path]]) -> tuple[str, Any, str | None]:
            name, (_, _, source) = item
            stamp, fault = _copy(folder / name, before / name, source, known.get(name))
            bar.update()
            return name, stamp, fault

        for name, stamp, fault in pool.map(copy, tasks.items()):
            split, session, source = tasks[name]
            if fault is None:
                found[split][session], sources[name] = name, stamp
            else:
                print(f"No audio of {session} in the report: {source}: {fault}")
    if sources:
        (folder / SOURCES).write_text(json.dumps(sources, indent=1), encoding="utf-8")
    return found


def _copy(out: Path, before: Path, source: Path, known: Any) -> tuple[Any, str | None]:
    """Copy one file; return its stamp, and a message if it failed."""
    try:
        status = source.stat()
    except OSError as error:
        return None, str(error.strerror)
    stamp = [str(source), status.st_size, status.st_mtime_ns]
    out.parent.mkdir(parents=True, exist_ok=True)
    if stamp == known and before.is_file():
        _share(before, out)
        return stamp, None
    try:
        with soundfile.SoundFile(source) as wav, _flac(out, wav) as flac:
            for block in wav.blocks(_BLOCK, dtype="int16"):
                _write(flac, block, out)
    except soundfile.SoundFileError as error:
        out.unlink(missing_ok=True)
        return None, str(error)
    return stamp, None


def _flac(out: Path, wav: soundfile.SoundFile) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(out, "w", wav.samplerate, wav.channels, subtype="PCM_16", format="FLAC")
    except soundfile.SoundFileError as error:
        raise _cannot_write(out, error) from None


def _write(flac: soundfile.SoundFile, block: np.ndarray, out: Path) -> None:
    try:
        flac.write(block)
    except soundfile.SoundFileError as error:
        raise _cannot_write(out, error) from None


def _cannot_write(out: Path, error: Exception) -> UserError:
    return UserError(f"{out}: cannot be written ({error}). Is the disk full? report.audio: false needs less space.")


def _share(before: Path, out: Path) -> None:
    """Link `out` to the earlier copy, or copy it where the file system has no hard links."""
    try:
        os.link(before, out)
    except OSError:
        shutil.copyfile(before, out)


def _read_sources(before: Path) -> dict[str, Any]:
    try:
        return json.loads((before / SOURCES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
