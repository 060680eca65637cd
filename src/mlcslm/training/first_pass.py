"""First passes of the training set: what CTC heads hear in it, each in sessions that it was trained without.

A head hears what it was trained on better than anything else. A model that reads such first passes learns to copy them;
one that reads those of unseen speech learns where they go wrong. The same is true of another checkpoint's answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from mlcslm.config.languages import Group
from mlcslm.corpus.folds import sessions_of_fold
from mlcslm.errors import UserError
from mlcslm.io.files import sha256
from mlcslm.io.parquet import read_table, write_table
from mlcslm.model.ctc import HEAD_FILE, CtcHead, load_ctc_head, read_ctc_info
from mlcslm.model.encoder_cache import EncoderCache
from mlcslm.runtime.progress import watched
from mlcslm.scoring.wer import align_counts
from mlcslm.text.protocols import get_protocol
from mlcslm.text.templates import CHOICES, Choice, Template
from mlcslm.training.reasoning_data import read_hypotheses

SCHEMA = pa.schema(
    [("utterance_id", pa.string()), ("variant", pa.int32()), ("fold", pa.int32()), ("first_pass", pa.string())]
)
_REMEDY = "Delete the file and run the workflow again."


def write_first_passes(manifest: Path, cache: Path, heads: Sequence[Path], out: Path) -> None:
    """Write to `out` (`SCHEMA`) what is heard in each variant that `cache` has of each utterance of `manifest`.

    heads: folders of the heads of all folds, in order; each hears its own fold's sessions. Raises UserError for a head
    of another fold or encoder.
    """
    frames = EncoderCache(cache, manifest)
    rows = read_table(manifest, columns=["utterance_id", "session_id", "grp"]).to_pylist()
    loaded = [_head(folder, (number, len(heads)), frames) for number, folder in enumerate(heads)]
    fold_of = {
        session: number for number in range(len(heads)) for session in sessions_of_fold(rows, (number, len(heads)))
    }
    heard = [
        {"utterance_id": row["utterance_id"], "variant": variant, "fold": fold, "first_pass": text}
        for row in watched(rows, f"first passes of {manifest.stem}", "utterance")
        for fold in (fold_of[row["session_id"]],)
        for variant, text in enumerate(_texts(loaded[fold], frames, row["utterance_id"]))
    ]
    table = pa.Table.from_pylist(heard, schema=SCHEMA)
    by = {"manifest": sha256(manifest)} | {f"head {n}": sha256(one / HEAD_FILE) for n, one in enumerate(heads)}
    write_table(table.replace_schema_metadata(by), out)


def _texts(head: CtcHead, frames: EncoderCache, name: str) -> Iterator[str]:
    for variant in range(frames.variants):
        yield head.transcribe(torch.from_numpy(frames.read(name, variant).frames.astype("float32")))


def _head(folder: Path, fold: tuple[int, int], frames: EncoderCache) -> CtcHead:
    info = read_ctc_info(folder)
    if info.fold is None or tuple(info.fold) != fold:
        found = "all sessions" if info.fold is None else f"all but fold {list(info.fold)}"
        raise UserError(f"{folder}: trained on {found}, expected all but fold {list(fold)}. {_REMEDY}")
    if (info.encoder, info.adapters) != (frames.metadata["encoder"], frames.metadata.get("adapters", "")):
        raise UserError(f"{folder}: head of another encoder than the cache's. {_REMEDY}")
    return load_ctc_head(folder)


class FirstPasses:
    """First passes of the utterances of the training set.

    files: the file of `write_first_passes`, or hypotheses of all folds' checkpoints, which are of the audio as it is
    and so the same in each variant. Raises UserError if any of `rows`, those to train on, has none.
    """

    def __init__(self, files: Sequence[Path], rows: Sequence[Mapping[str, Any]]) -> None:
        table = read_table(files[0])
        if "first_pass" in table.column_names:
            heard = table.select(["utterance_id", "variant", "first_pass"]).to_pylist()
        else:
            answered = read_hypotheses(files, "utterance_id", "transcript")
            heard = [one | {"variant": 0, "first_pass": one["transcript"] or ""} for one in answered]
        self._texts: dict[tuple[str, int], str] = {
            (one["utterance_id"], one["variant"]): one["first_pass"] for one in heard
        }
        self._variants = 1 + max((one["variant"] for one in heard), default=0)
        if missing := [row["utterance_id"] for row in rows if (row["utterance_id"], 0) not in self._texts]:
            raise UserError(
                f"{files[0]}: no first pass for {len(missing)} of {len(rows)} training utterances, e.g. {missing[0]}. "
                f"{_REMEDY}"
            )

    def of(self, utterance_id: str, number: int) -> str:
        """What was heard in the variant of an utterance that pass `number` over the training set takes."""
        return self._texts[utterance_id, number % self._variants]


def best_choice(
    template: Template, group: Group, reference: str, heard: Sequence[str], rewrite_above: float | None
) -> Choice | None:
    """What an answer of template "choose" is to begin with; None with another template.

    It is the one of the two first passes `heard` with fewer errors, counted as `mlcslm-2025` counts those of `group`,
    the first if both have as many; but a rewrite if even that has more than `rewrite_above` per unit of the reference
    (None: never).

    >>> french = Group("French", "French", "fr", "<LANG_FR>", "word", "Transcrivez")
    >>> best_choice("choose", french, "Ça va ?", ["sa va", "ça va"], 0.0)
    'other'
    >>> [best_choice("choose", french, "Ça va ?", ["sa va", "non"], limit) for limit in (0.0, 0.5)]
    ['rewrite', 'keep']
    """
    if template != "choose":
        return None
    protocol = get_protocol("mlcslm-2025")
    meant = protocol.reference_tokens(reference, group)
    errors = [align_counts(meant, protocol.hypothesis_tokens(text, group)).errors for text in heard]
    fewest = min(errors)
    if rewrite_above is not None and fewest > rewrite_above * len(meant):
        return "rewrite"
    return CHOICES[errors.index(fewest)]
