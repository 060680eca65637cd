"""Outputs of an encoder that is not trained any further: computed once, read by all stages and decodings that share it.

A cache is a folder: `frames.bin` (all encoder frames concatenated, (frames, width), 50 per second), `index.parquet`
(utterance_id, variant, first, frames, samples, crc32 of the frames' bytes) and `cache.json` (its provenance).
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import WhisperFeatureExtractor

from mlcslm.config.languages import Group
from mlcslm.corpus.audio import SAMPLE_RATE, read_segment
from mlcslm.errors import UserError
from mlcslm.io.files import atomic_folder, sha256
from mlcslm.io.parquet import read_table, write_table
from mlcslm.model.distortions import Distortions, augmentation_rng
from mlcslm.model.encoder import SpeechEncoder
from mlcslm.model.foundation import fingerprint_of, load_encoder
from mlcslm.model.log_mel import EncoderWindow, LogMel
from mlcslm.model.lora import merge_lora
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.runtime.progress import progress

_INDEX = ("utterance_id", "variant", "first", "frames", "samples", "crc32")
_BATCH_S = 120.0  # seconds of audio per batch
_BOUNDARY_STREAM = 2  # keeps this random stream apart from the one that adds noise
_REMEDY = "delete the folder and run the workflow again."


@dataclass(frozen=True)
class Adapted:
    """The checkpoint whose adapters an encoder is to have, with what loading it takes."""

    checkpoint: Path
    languages: Mapping[str, Group]
    language_model: str | None = None


@dataclass(frozen=True)
class CachedAudio:
    """Encoder frames (T, d) of one utterance and its length in samples at 16 kHz."""

    frames: np.ndarray
    samples: int


def moved_boundaries(
    row: Mapping[str, Any], boundaries_s: float, seed: int, number: int, longest_s: float
) -> tuple[float, float]:
    """Start and end, in seconds, of what training hears of an utterance in pass (or cached variant) `number`.

    Each is moved outwards with probability 1/2, by up to `boundaries_s`, but the whole lasts at most `longest_s`. The
    end may lie past the recording's.
    """
    if not boundaries_s:
        return row["start"], row["end"]
    rng = augmentation_rng(seed, number, row["utterance_id"], _BOUNDARY_STREAM)
    before, after = np.maximum(0.0, rng.uniform(-boundaries_s, boundaries_s, 2))
    start = max(0.0, row["start"] - before)
    return start, max(row["end"], min(row["end"] + after, start + longest_s))


def write_encoder_cache(
    folder: str | os.PathLike[str],
    manifest: str | os.PathLike[str],
    *,
    encoder: str,
    adapted: Adapted | None = None,
    encoder_window: EncoderWindow = "true_length",
    distortions: Distortions | None = None,
    boundaries_s: float = 0.0,
    variants: int = 1,
    seed: int = 0,
    dtype: str = "float32",
) -> None:
    """Encode every utterance of `manifest` `variants` times, each time with other `distortions`; none by default.

    encoder: the foundation's, by hub id or folder; adapted: with the adapters of this checkpoint, merged.
    boundaries_s: see `moved_boundaries`.
    """
    rows = read_table(manifest, columns=["utterance_id", "audio", "start", "end"]).to_pylist()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = torch.bfloat16 if device.type == "cuda" else torch.float32
    if adapted is None:
        model, features = load_encoder(encoder, dtype=precision)
        provenance = {"encoder": fingerprint_of(model), "adapters": ""}
    else:
        model, features, provenance = _adapted_encoder(adapted, encoder, device)
    model.to(device, precision).eval()  # type: ignore[arg-type] # transformers' wrapper hides the signature
    log_mel = LogMel(features, encoder_window=encoder_window, max_mel_frames=model.max_mel_frames)
    longest_s = log_mel.max_samples / SAMPLE_RATE
    distortions = distortions or Distortions()
    work = sorted(
        ((row, variant) for row in rows for variant in range(variants)),
        key=lambda item: item[0]["end"] - item[0]["start"],
    )
    index: dict[str, list[Any]] = {name: [] for name in _INDEX}
    total = 0
    with atomic_folder(folder, "encoder cache", own=["frames.bin", "index.parquet", "cache.json"]) as temporary:
        with (
            open(temporary / "frames.bin", "wb") as file,
            progress(len(work), f"encoding {Path(manifest).stem}", "utterance") as bar,
        ):
            for batch in _batches(work):
                audio = []
                for row, variant in batch:
                    start, end = moved_boundaries(row, boundaries_s, seed, variant, longest_s)
                    samples = read_segment(row["audio"], start, end)
                    name, longest = row["utterance_id"], log_mel.max_samples
                    audio.append(distortions.audio(samples, seed, variant, name, longest=longest))
                mels, mask = log_mel(audio)
                for place, ((row, variant), samples) in enumerate(zip(batch, audio, strict=True)):
                    own = mels[place, :, : int(mask[place].sum())]
                    own.copy_(distortions.log_mel(own, len(samples), seed, variant, row["utterance_id"]))
                with torch.inference_mode():
                    frames, frames_mask = model(mels.to(device, precision), mask.to(device))
                lengths = frames_mask.sum(1).tolist()
                for (row, variant), samples, output, length in zip(batch, audio, frames, lengths, strict=True):
                    content = output[:length].float().cpu().numpy().astype(dtype).tobytes()
                    file.write(content)
                    values = (row["utterance_id"], variant, total, length, len(samples), zlib.crc32(content))
                    for column, value in zip(index.values(), values, strict=True):
                        column.append(value)
                    total += length
                bar.update(len(batch))
        write_table(pa.table(index), temporary / "index.parquet")
        metadata = {
            "dtype": dtype,
            "width": model.config.d_model,
            "frames": total,
            "variants": variants,
            **provenance,
            "encoder_window": encoder_window,
            "manifest": sha256(manifest),
        }
        (temporary / "cache.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def _adapted_encoder(
    adapted: Adapted, encoder: str, device: torch.device
) -> tuple[SpeechEncoder, WhisperFeatureExtractor, dict[str, str]]:
    """The encoder of a checkpoint, its adapters merged on `device` in float32, with its features and fingerprints."""
    from mlcslm.model.checkpoint import load_checkpoint

    model, processor = load_checkpoint(
        adapted.checkpoint,
        languages=adapted.languages,
        encoder=encoder,
        language_model=adapted.language_model,
        dtype="float32",
    )
    merge_lora(model.to(device))  # type: ignore[arg-type] # transformers' wrapper hides the signature
    provenance = {"encoder": model.foundation["encoder"]["fingerprint"], "adapters": model.encoder_adapters}
    return model.model.encoder, processor.features.feature_extractor, provenance


def _batches(work: list[tuple[dict[str, Any], int]]) -> list[list[tuple[dict[str, Any], int]]]:
    """Split `work` (sorted by length) so that each batch, padded to its longest, has at most `_BATCH_S` of audio."""
    batches: list[list[tuple[dict[str, Any], int]]] = [[]]
    for row, variant in work:
        if batches[-1] and (len(batches[-1]) + 1) * (row["end"] - row["start"]) > _BATCH_S:
            batches.append([])
        batches[-1].append((row, variant))
    return [batch for batch in batches if batch]


class EncoderCache:
    """A cache opened for reading.

    Raises UserError if it is damaged, or made from another manifest, encoder or adapters (by fingerprint; "" for none)
    or encoder window.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        manifest: str | os.PathLike[str] | None = None,
        *,
        encoder: str | None = None,
        adapters: str | None = None,
        encoder_window: str | None = None,
    ) -> None:
        folder = Path(folder)
        self.metadata, index = _read_metadata(folder)
        expected = {
            "manifest": (manifest and sha256(manifest), f"another manifest than {manifest}"),
            "encoder": (encoder, f"another encoder than {encoder}"),
            "adapters": (adapters, "an encoder with other adapters than the model's"),
            "encoder_window": (encoder_window, f"another encoder window than {encoder_window}"),
        }
        for name, (value, other) in expected.items():
            if value is not None and self.metadata.get(name, "") != value:
                raise UserError(f"{folder}: made from {other}; {_REMEDY}")
        dtype, width = np.dtype(self.metadata["dtype"]), self.metadata["width"]
        size = self.metadata["frames"] * width * dtype.itemsize
        found = (folder / "frames.bin").stat().st_size if (folder / "frames.bin").exists() else 0
        if found != size:
            raise UserError(f"{folder}/frames.bin: found {found} bytes, expected {size}; {_REMEDY}")
        self._frames = np.memmap(folder / "frames.bin", dtype, "r", shape=(self.metadata["frames"], width))
        self.variants: int = self.metadata["variants"]
        self._entries = {
            (utterance, variant): tuple(entry) for utterance, variant, *entry in zip(*index.values(), strict=True)
        }

    def __contains__(self, utterance_id: str) -> bool:
        return (utterance_id, 0) in self._entries

    def read(self, utterance_id: str, variant: int = 0) -> CachedAudio:
        """Frames of an utterance; `variant` is taken modulo the number of variants.

        Raises UserError if they have changed since they were written: nothing else would notice a flipped bit.
        """
        first, frames, samples, crc32 = self._entries[utterance_id, variant % self.variants]
        found = np.asarray(self._frames[first : first + frames])
        if crc32 is not None and zlib.crc32(found.data) != crc32:
            raise UserError(
                f"{self._frames.filename}: the frames of {utterance_id} have changed since they were written; {_REMEDY}"
            )
        return CachedAudio(found, samples)


def open_cache(
    folder: str | os.PathLike[str] | None, manifest: str | os.PathLike[str], model: SpeechLLM
) -> EncoderCache | None:
    """The cache in `folder` for `model`, whose encoder must be the one that made it; None if `folder` is None."""
    if folder is None:
        return None
    return EncoderCache(
        folder,
        manifest,
        encoder=model.foundation["encoder"]["fingerprint"],
        adapters=model.encoder_adapters,
        encoder_window=model.config.encoder_window,
    )


def _read_metadata(folder: Path) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Contents of `cache.json` and columns of `index.parquet`."""
    for name in ("cache.json", "index.parquet"):
        if not (folder / name).is_file():
            raise UserError(f"{folder}: not an encoder cache: no {name}; {_REMEDY}")
    try:
        metadata = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
        index = read_table(folder / "index.parquet")
        if "crc32" not in index.column_names:  # older caches have none
            index = index.append_column("crc32", pa.nulls(index.num_rows, pa.int64()))
        return metadata, index.select(_INDEX).to_pydict()
    except (ValueError, UserError) as error:
        raise UserError(f"{folder}: cache.json or index.parquet is damaged ({error}); {_REMEDY}") from None
