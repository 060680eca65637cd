"""Train the CTC head of an encoder that stands still, on its cached outputs."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from mlcslm.config.decoding import CtcConfig
from mlcslm.corpus.folds import sessions_of_fold
from mlcslm.errors import UserError
from mlcslm.io.files import atomic_folder
from mlcslm.io.parquet import read_table
from mlcslm.model.ctc import BLANK, HEAD_FILES, CtcHead, Fold, save_ctc_head
from mlcslm.model.encoder_cache import EncoderCache
from mlcslm.runtime.progress import progress
from mlcslm.text.characters import characters
from mlcslm.training.batches import Key, batches_of_pass

_WARMUP = 10
_COLUMNS = ("utterance_id", "start", "end", "text")
_FOLD_COLUMNS = ("session_id", "grp")


def train_ctc_head(
    folder: Path, manifest: Path, cache: Path, config: CtcConfig, *, seed: int, fold: Fold | None = None
) -> None:
    """Train a head on the frames that `cache` has of the utterances in `manifest`, and write it to `folder`.

    fold: without this fold's sessions. Its alphabet is that of the transcripts it is trained on. The same seed gives
    the same head. Raises UserError for a cache of another manifest, or if there are too few utterances for a batch.
    """
    frames = EncoderCache(cache, manifest)
    rows = read_table(manifest, columns=[*_COLUMNS, *(_FOLD_COLUMNS if fold else ())]).to_pylist()
    unheard = sessions_of_fold(rows, fold) if fold else set()
    rows = [row for row in rows if row["text"] and row.get("session_id") not in unheard]
    if fold and not rows:
        raise UserError(
            f"{manifest}: fold {list(fold)} has all its sessions, as no group has more than one; none is left to train "
            "the fold's CTC head on. Use more sessions, or leave first_pass out."
        )
    if len(rows) < config.batch_size:
        outside = f" outside fold {list(fold)}" if fold else ""
        raise UserError(
            f"{manifest}: {len(rows)} utterances with text{outside}, but ctc.batch_size is {config.batch_size}; lower "
            "it."
        )
    alphabet = "".join(sorted(set("".join(characters(row["text"]) for row in rows))))
    torch.manual_seed(seed)
    head = CtcHead(int(frames.metadata["width"]), alphabet)
    labels = [head.classes(row["text"]) for row in rows]
    optimiser = torch.optim.AdamW(head.parameters(), lr=config.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / _WARMUP, 1.0) * (1 - step / config.steps)
    )
    losses: list[float] = []
    with progress(config.steps, f"CTC head {folder.name}", "step") as bar:
        batches = _batches([row["end"] - row["start"] for row in rows], config.batch_size, seed)
        for batch in itertools.islice(batches, config.steps):
            heard = [
                torch.from_numpy(frames.read(rows[index]["utterance_id"], number).frames.astype("float32"))
                for number, index in batch
            ]
            loss = _loss(head, heard, [labels[index] for _, index in batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            bar.update()
    last = losses[-max(1, len(losses) // 10) :]
    mean = sum(last) / len(last)
    print(f"CTC head: {len(alphabet)} letters, {mean:.3f} nats a letter at the end", file=sys.stderr)
    with atomic_folder(folder, "CTC head", own=list(HEAD_FILES)) as temporary:
        of = frames.metadata
        adapters = of.get("adapters", "")
        save_ctc_head(temporary, head, encoder=of["encoder"], adapters=adapters, loss=mean, fold=fold)


def _batches(lengths: list[float], size: int, seed: int) -> Iterator[list[Key]]:
    """Batches of (pass, index), pass after pass."""
    for number in itertools.count():
        for batch in batches_of_pass(lengths, size, seed, number):
            yield [(number, index) for index in batch]


def _loss(head: CtcHead, heard: list[torch.Tensor], labels: list[list[int]]) -> torch.Tensor:
    """Mean loss per letter of a batch: encoder frames (T, width) and classes of each utterance.

    Utterances with more letters than their frames have room for are left out.
    """
    padded = nn.utils.rnn.pad_sequence(heard, batch_first=True)
    total: torch.Tensor = nn.functional.ctc_loss(
        head(padded).transpose(0, 1),
        torch.tensor([one for label in labels for one in label], dtype=torch.long),
        torch.tensor([len(one) for one in heard]),
        torch.tensor([len(label) for label in labels]),
        blank=BLANK,
        reduction="sum",
        zero_infinity=True,
    )
    return total / max(1, sum(map(len, labels)))
