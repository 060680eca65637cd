"""What can be wrong with a machine while jobs run, round by round: one on a training stage, one on a decoding each."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from functools import partial
from typing import Any

from rounds import Fault, Round, decoding, put_back
from toy_runs import Toy, cut

TRAINING, DECODING = "train/ckpt-10000", decoding("ckpt-4000")
KEPT = "run the same command again: finished work is kept"
LOCKS = "results/work/decoding"


def largest_file(size: int) -> Any:
    """Let no file grow beyond `size` bytes: the system refuses as it does on a full disk, with another word."""
    return partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))


def open_all_but_one() -> None:
    """Use up all file handles but the one that the job's log takes."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
    opened = []
    while True:
        try:
            opened.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            break
    os.close(opened[-1])


def ask_for_too_much_memory() -> None:
    """Let the first loss want a petabyte."""
    import torch

    from mlcslm.training.trainer import SpeechTrainer

    SpeechTrainer.compute_loss = lambda *_, **__: torch.empty(1 << 50)  # type: ignore[method-assign]


def lose_the_drive() -> None:
    """Let every Parquet file be on a network drive whose server has forgotten us."""
    import pyarrow.parquet as pq

    def lost(path: Any, **_: Any) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    pq.ParquetFile = lost  # type: ignore[misc, assignment]


def kill_workers() -> None:
    """End processes that prepare batches as the system does when memory runs out."""
    from torch.utils.data import get_worker_info

    from mlcslm.training.dataset import UtteranceDataset

    read = UtteranceDataset.__getitem__

    def killed(self: UtteranceDataset, key: Any) -> Any:
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return read(self, key)

    UtteranceDataset.__getitem__ = killed  # type: ignore[method-assign]


def obey_permissions() -> None:
    """Give up root's right to pass over permissions; nothing changes for other users."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
        sets = (ctypes.c_uint32 * 6)()
        assert libc.capget(header, sets) == 0
        for i in range(3):
            sets[i] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        assert libc.capset(header, sets) == 0


def damage_noises(toy: Toy) -> None:
    for path in (toy.results / "corpus" / "augmentation").rglob("*.wav"):
        cut(path)


ROUNDS = (
    Round(
        (
            Fault(
                "disk-full-in-training",
                TRAINING,
                rf"the disk is full \(.*File too large.*\)\. Free space .* {KEPT}",
                in_job=largest_file(20_000),
            ),
            Fault(
                "disk-full-in-decoding",
                DECODING,
                rf"greedy/dev/all\.parquet: the disk is full \(.*File too large.*\)\. Free space .* {KEPT}",
                in_job=largest_file(4096),
            ),
        ),
        forget=("ckpt-4000/dev", "ckpt-10000/dev", "ckpt-10000/test"),
        remove=("checkpoints/ckpt-10000",),
    ),
    Round(
        (
            Fault(
                "noise-damaged",
                "encoder_cache/ckpt-7000/train",  # which adds the noise that ckpt-10000 is trained on
                r"corpus/augmentation/\S+\.wav: is truncated: its header declares .* Copy the file again",
                damage=damage_noises,
                repair=partial(put_back, "results/corpus/augmentation"),
            ),
            Fault(
                "too-many-open-files",
                DECODING,
                rf"too many files are open \(Too many open files\)\. Allow more with `ulimit -n .* {KEPT}",
                in_job=open_all_but_one,
            ),
        ),
        remove=("features/ckpt-7000/train",),
    ),
    Round(
        (
            Fault(
                "memory-exhausted",
                TRAINING,
                rf"out of memory \(.*memory.*\)\. Run fewer jobs at once .* batch_size .* {KEPT}",
                in_job=ask_for_too_much_memory,
            ),
            Fault(
                "network-drive-lost",
                DECODING,
                r"manifests/dev\.parquet: the disk or network drive that holds it does not respond "
                rf"\(Stale file handle\)\. Nothing needs to be deleted: check that it is mounted and .*, then {KEPT}",
                in_job=lose_the_drive,
            ),
        ),
    ),
    Round(
        (
            Fault(
                "worker-killed",
                TRAINING,
                rf"the system killed a process that prepares batches.* resources\.data_workers.* {KEPT}",
                in_job=kill_workers,
            ),
            Fault(
                "folder-not-to-be-written",
                DECODING,
                rf"{LOCKS}/\S+: not readable or writable by this user \(Permission denied\)\. Give yourself .* {KEPT}",
                damage=lambda toy: (toy.root / LOCKS / "ckpt-4000" / "greedy" / "dev").chmod(0o500),
                repair=lambda toy, _: (toy.root / LOCKS / "ckpt-4000" / "greedy" / "dev").chmod(0o755),
                in_job=obey_permissions,
            ),
        ),
        config={"resources": {"data_workers": 1}},
    ),
    Round(
        (
            Fault(
                "disk-full-of-the-database",
                "database",
                rf"the disk is full \(.*File too large.*\)\. Free space .* {KEPT}",
                in_job=largest_file(100_000),
            ),
        ),
    ),
)
