"""Speech from espeak-ng, whose library and data are inside the wheel `espeakng-loader`: no root, no network.

The library keeps its state in process-wide variables, so it runs in child processes (`speak_many`), where a crash does
not affect the caller.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import queue
import subprocess
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from mlcslm.errors import UserError

SAMPLE_RATE = 16_000
_ESPEAK_RATE = 22_050
# espeak-ng 1.52 copies its data path into a buffer of 160 bytes (N_PATH_HOME in speech.h).
_LONGEST_DATA_PATH = 140
_SYNCHRONOUS, _UTF8 = 2, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Voice:
    """One speaker: an espeak-ng language voice and variant, pitch and pitch range (0-100), rate (words per minute)."""

    language: str
    variant: str
    pitch: int
    pitch_range: int
    rate: int

    @property
    def name(self) -> str:
        """espeak-ng's name of the voice, such as `en-us+f3`."""
        return f"{self.language}+{self.variant}"


class Engine:
    """An espeak-ng engine with its data in the folder `data` (see `short_data_path`); at most one per process."""

    def __init__(self, data: Path) -> None:
        import espeakng_loader

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, os.fsencode(data), 0)
        if rate != _ESPEAK_RATE:
            raise RuntimeError(f"espeak_Initialize returned {rate} with the data in {data}, expected {_ESPEAK_RATE}")
        # Otherwise its noise (breath, Klatt voices) is seeded with the time of day.
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._chunks: list[np.ndarray] = []
        self._callback = _CALLBACK(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)
        self._voice: Voice | None = None

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, events: int) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0

    def speak(self, voice: Voice, text: str) -> np.ndarray:
        """Return `text` said by `voice`: float32 mono at 16 kHz in [-1, 1], silence at both ends removed."""
        import soxr

        if voice != self._voice:
            if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
                raise UserError(
                    f"espeak-ng has no voice {voice.name!r}; the installed espeakng-loader is not the pinned one."
                )
            for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
                self._library.espeak_SetParameter(parameter, value, 0)
            self._voice = voice
        encoded = text.encode("utf-8") + b"\0"
        self._chunks.clear()
        self._library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
        self._library.espeak_Synchronize()
        if not self._chunks:
            return np.zeros(0, np.float32)
        audio = np.concatenate(self._chunks).astype(np.float32) / 32768
        return trim(soxr.resample(audio, _ESPEAK_RATE, SAMPLE_RATE).astype(np.float32))


@contextlib.contextmanager
def short_data_path() -> Iterator[Path]:
    """Yield the folder of espeak-ng's data, through a temporary link if its path is too long for espeak-ng."""
    import espeakng_loader

    data = Path(espeakng_loader.get_data_path())
    if len(os.fsencode(data)) <= _LONGEST_DATA_PATH:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="espeak") as folder:
        link = Path(folder) / "espeak-ng-data"
        link.symlink_to(data)
        yield link


def trim(audio: np.ndarray, threshold: float = 0.003, margin: int = 480) -> np.ndarray:
    """Trim both ends where the audio is below `threshold` (of full scale), keeping `margin` samples."""
    loud = np.flatnonzero(np.abs(audio) > threshold)
    return audio[max(0, loud[0] - margin) : loud[-1] + margin] if len(loud) else audio[:0]


class _Worker:
    """A child process that speaks batches, each in its own fork (`python -m mlcslm.corpus.demo.synthesis`)."""

    def __init__(self) -> None:
        # In a session of its own: Ctrl-C and a cluster's SIGTERM are for the caller, whose closing of the pipe ends it.
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=-1,
            start_new_session=True,
        )

    def speak(self, requests: list[tuple[Voice, str]]) -> list[np.ndarray]:
        assert self._process.stdin is not None and self._process.stdout is not None
        line = json.dumps([[dataclasses.astuple(voice), text] for voice, text in requests])
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        audio = []
        for _ in requests:
            size = self._process.stdout.read(8)
            if len(size) < 8:
                raise UserError(
                    f"espeak-ng exited with status {self._process.wait()} while speaking as {requests[0][0].name}; "
                    "reinstall the package espeakng-loader and run again."
                )
            audio.append(np.frombuffer(self._process.stdout.read(int.from_bytes(size, "little")), np.float32))
        return audio

    def close(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # of a batch that a dead process was sent
            self._process.stdin.close()
        self._process.wait()


def speak_many(batches: Iterable[list[tuple[Voice, str]]], workers: int) -> Iterator[list[np.ndarray]]:
    """Speak each batch of (voice, text) in its own process; yield the batches' audio in order.

    A fresh process per batch makes the audio a pure function of the batch: espeak-ng carries the state of its flutter
    and noise over from one utterance to the next and cannot reset it. Raises UserError if espeak-ng crashes.
    """
    idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
    team = [_Worker() for _ in range(workers)]
    for worker in team:
        idle.put(worker)

    def speak(batch: list[tuple[Voice, str]]) -> list[np.ndarray]:
        worker = idle.get()
        try:
            return worker.speak(batch)
        finally:
            idle.put(worker)

    try:
        with ThreadPoolExecutor(workers) as pool:
            waiting: deque[Future[list[np.ndarray]]] = deque()
            for batch in batches:
                waiting.append(pool.submit(speak, batch))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        for worker in team:
            worker.close()


def _serve() -> None:
    """Answer each line of standard input in a fork, so that every batch finds espeak-ng in its initial state."""
    import soxr  # noqa: F401 - loaded once here, used in every fork

    with short_data_path() as data:
        for line in sys.stdin:
            child = os.fork()
            if child == 0:
                _answer(line, data)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status:
                sys.exit(1)


def _answer(line: str, data: Path) -> NoReturn:
    """Speak one batch and exit this process, without the clean-up that is its parent's."""
    status = 1
    try:
        engine = Engine(data)
        for voice, text in json.loads(line):
            audio = engine.speak(Voice(*voice), text).tobytes()
            sys.stdout.buffer.write(len(audio).to_bytes(8, "little") + audio)
        sys.stdout.buffer.flush()
        status = 0
    except UserError as error:
        print(f"mlcslm: {error}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
