"""Decoding variants: with the optimisations of `mlcslm.decoding`, or without; as a script, one job of one variant.

A job is its own process, as in the workflow: it loads the model, decodes, and writes hypotheses.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.languages import read_languages
from mlcslm.model.speech_llm import SpeechLLM


@dataclass(frozen=True)
class Job:
    """A checkpoint to decode with `decodings` (settings by output file), `plain` or with all optimisations."""

    checkpoint: str
    manifest: str
    languages: str
    encoder: str | None
    language_model: str | None
    plain: bool
    decodings: dict[str, dict[str, Any]]


def run(job: Job) -> None:
    """Run a job in this process."""
    from mlcslm.decoding import generation

    torch.set_num_threads(1)
    patches = [
        mock.patch("mlcslm.decoding.decoder.search", transformers_search),
        mock.patch.object(generation, "length_buckets", unsorted_batches),
    ]
    for patch in patches if job.plain else []:
        patch.start()
    generation.decode_with_all(
        Path(job.checkpoint),
        Path(job.manifest),
        [(Path(out), DecodingConfig(**settings)) for out, settings in job.decodings.items()],
        read_languages(job.languages),
        encoder=job.encoder,
        language_model=job.language_model,
    )
    mock.patch.stopall()


def transformers_search(
    model: SpeechLLM,
    prompts: Mapping[str, torch.Tensor],
    utterance_ids: Sequence[str],
    decoding: DecodingConfig,
    compiled_trees: None = None,
) -> list[list[int]]:
    """`search` by means of transformers' `generate`, which reads and stores the prompt once per beam.

    Sampling methods draw from one stream per batch, so their answers differ.
    """
    if model.model.language_model.config._attn_implementation != "sdpa":
        model.model.language_model.set_attn_implementation("sdpa")
    torch.manual_seed(decoding.seed)
    sampled = decoding.method in ("multinomial", "beam+sampling")
    options: dict[str, Any] = {"temperature": decoding.temperature, "top_k": 0, "top_p": 1.0} if sampled else {}
    with torch.inference_mode():
        output = model.generate(
            **prompts,
            max_new_tokens=decoding.max_new_tokens,
            num_beams=decoding.beams,
            do_sample=sampled,
            **options,
        )
    return output[:, prompts["input_ids"].shape[1] :].tolist()


def unsorted_batches(
    rows: Sequence[dict[str, Any]], size: int, expected: Mapping[str, int] | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Batches of `size` in random order, regardless of the `expected` answer lengths."""
    order = np.random.default_rng(0).permutation(len(rows))
    for start in range(0, len(rows), size):
        yield [rows[index] for index in order[start : start + size]]


if __name__ == "__main__":
    run(Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
