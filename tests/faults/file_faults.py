"""What can be wrong with files that lie on a disk for weeks, round by round."""

from __future__ import annotations

from pathlib import Path

from rounds import Round, decoding, file_fault
from toy_runs import change_json, cut, flip


def other_weights(folder: Path) -> None:
    """Other weights under the same names: what a model hub's new revision is."""
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    save_file({name: torch.roll(tensor, 1, 0) for name, tensor in weights.items()}, path, {"format": "pt"})


ALL_DEV = ("ckpt-4000/dev", "ckpt-7000/dev", "ckpt-10000/dev")
CHECKPOINT = "results/checkpoints"
ANEW = r"Restore a copy of the folder, or delete results/checkpoints/{0}/checkpoint\.json and run the workflow again"
# What reads a split's recordings: all decodings of ckpt-7000 and ckpt-10000 have its outputs.
ENCODING = "encoder_cache/ckpt-7000/dev"
SCORED = ("hypotheses", "reflections", "scores")
CACHE_ANEW = "delete the folder and run the workflow again"

ROUNDS = (
    Round(
        (
            file_fault(
                "checkpoint-cut-short",
                f"{CHECKPOINT}/ckpt-4000/projector.safetensors",
                cut,
                decoding("ckpt-4000"),
                ANEW.format("ckpt-4000")
                + r"(?s:.*)ckpt-4000/projector\.safetensors: SHA-256 \w+… found \(\d+ bytes\), expected \w+…",
            ),
            file_fault(
                "one-bit-of-a-checkpoint",
                f"{CHECKPOINT}/ckpt-7000/lm_lora.safetensors",
                flip,
                decoding("ckpt-7000"),
                r"ckpt-7000/lm_lora\.safetensors: SHA-256 \w+… found",
            ),
            file_fault(
                "description-of-a-checkpoint-cut-short",
                f"{CHECKPOINT}/ckpt-10000/checkpoint.json",
                cut,
                decoding("ckpt-10000"),
                r"ckpt-10000/checkpoint\.json: not readable as JSON .*" + ANEW.format("ckpt-10000"),
            ),
        ),
        forget=ALL_DEV,
    ),
    Round(
        (
            file_fault(
                "encoder-cache-cut-short",
                "results/features/foundation/dev/frames.bin",
                cut,
                decoding("ckpt-4000"),
                r"features/foundation/dev/frames\.bin: found \d+ bytes, expected \d+; " + CACHE_ANEW,
            ),
            file_fault(
                "recording-lost",
                "results/corpus/dev/French",
                lambda folder: [path.unlink() for path in folder.glob("*.wav")],
                ENCODING,
                r"corpus/dev/French/\S+\.wav: cannot be read as audio \(no such file\).* Copy the file again",
            ),
            file_fault(
                "part-of-a-checkpoint-lost",
                f"{CHECKPOINT}/ckpt-10000/lm_lora.safetensors",
                Path.unlink,
                decoding("ckpt-10000", "test"),  # on dev it waits for the encoder's outputs
                r"ckpt-10000/lm_lora\.safetensors: no such file",
            ),
        ),
        forget=("ckpt-10000/test",),
        remove=("features/ckpt-7000/dev",),
    ),
    Round(
        (
            file_fault(
                "one-bit-of-the-encoder-cache",
                "results/features/foundation/dev/frames.bin",
                flip,
                decoding("ckpt-4000"),
                r"features/foundation/dev/frames\.bin: the frames of \S+ have changed since they were written; "
                + CACHE_ANEW,
            ),
            file_fault(
                "recording-cut-short",
                "results/corpus/dev/French",
                lambda folder: [cut(path) for path in folder.glob("*.wav")],
                ENCODING,
                r"corpus/dev/French/\S+\.wav: is truncated: its header declares .* Copy the file again",
            ),
        ),
    ),
    Round(
        (
            file_fault(
                "index-of-the-encoder-cache-damaged",
                "results/features/foundation/dev/index.parquet",
                lambda path: flip(path, 0.02),
                decoding("ckpt-4000"),
                r"features/foundation/dev: cache\.json or index\.parquet is damaged .*" + CACHE_ANEW,
                delete="features/foundation/dev",
            ),
            file_fault(
                "another-manifest-under-the-hypotheses",
                "results/manifests/test.parquet",
                cut,
                decoding("ckpt-7000", "test"),
                r"manifests/test\.parquet: not a Parquet file, or damaged .*Delete it and run the workflow again",
            ),
        ),
        forget=("ckpt-7000/test",),
    ),
    Round(
        (
            file_fault(
                "another-language-model-in-its-place",
                "foundation/language_model",
                other_weights,
                decoding("ckpt-4000"),
                r"checkpoint of another speech LLM.*\n.*language_model: found foundation/language_model \(finger",
            ),
        ),
    ),
    Round(
        (
            file_fault(
                "another-encoder-in-its-place",
                "foundation/encoder",
                other_weights,
                decoding("ckpt-7000"),
                r"checkpoint of another speech LLM.*\n.*encoder: found foundation/encoder \(fingerprint",
            ),
        ),
        forget=("ckpt-7000/dev",),
    ),
    Round(
        (
            file_fault(
                "language-model-cut-short",
                "foundation/language_model/model.safetensors",
                cut,
                decoding("ckpt-7000"),
                r"language model foundation/language_model: cannot be loaded \(.*incomplete.*\)",
            ),
        ),
        forget=("ckpt-7000/dev",),
    ),
    Round(
        (
            file_fault(
                "checkpoint-of-another-version",
                f"{CHECKPOINT}/ckpt-10000/checkpoint.json",
                lambda path: change_json(path, format_version=0),
                decoding("ckpt-10000"),
                r"ckpt-10000/checkpoint\.json: format version 0 found, expected 1",
                delete="checkpoints/ckpt-10000/checkpoint.json",
            ),
        ),
        forget=("ckpt-10000/dev",),
    ),
    Round(
        (
            file_fault(
                "hypotheses-cut-short",
                "results/hypotheses/ckpt-4000/greedy/test/all.parquet",
                cut,
                "merge_hypotheses/ckpt-4000/greedy/test",
                r"greedy/test/all\.parquet: not a Parquet file, or damaged .*Delete it and run the workflow",
                delete="hypotheses/ckpt-4000/greedy/test/all.parquet",
            ),
            file_fault(
                "reasoning-data-damaged",
                "results/reasoning/reasoning.parquet",
                lambda path: flip(path, 0.02),
                "train/ckpt-10000",
                r"reasoning/reasoning\.parquet: not a Parquet file, or damaged .*Delete it and run the workflow",
                delete="reasoning/reasoning.parquet",
            ),
        ),
        forget=("ckpt-10000/dev", "ckpt-10000/test"),
        remove=("checkpoints/ckpt-10000", *(f"{kind}/ckpt-4000/greedy/test.parquet" for kind in SCORED)),
    ),
    Round(
        (
            file_fault(
                "scores-cut-short",
                "results/scores/ckpt-7000/greedy/test.parquet",
                cut,
                "database",
                r"scores/ckpt-7000/greedy/test\.parquet: not a Parquet file, or damaged .*Delete it and run",
                delete="scores/ckpt-7000/greedy/test.parquet",
            ),
        ),
    ),
    Round(
        (
            file_fault(
                "training-log-cut-short",
                f"{CHECKPOINT}/ckpt-4000/training_log.parquet",
                cut,
                "database",
                r"ckpt-4000/training_log\.parquet: not a Parquet file, or damaged",
            ),
        ),
    ),
)
