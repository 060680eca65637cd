"""What decodes a split's prompts fastest: our search as it is and as it was, vLLM, or transformers' `generate`.

All continue the same prompts greedily to the same length; answers are compared token by token. benchmarks/README.md
says how to run it, docs/decoding.md has the results.
"""

from __future__ import annotations

import argparse
import datetime
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import numpy as np
import torch
from decoding_variants import transformers_search
from foundation import SIZES, foundation_folders
from fullsize_inputs import never_ends
from reporting import machine, measure

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.languages import read_languages
from mlcslm.decoding import prefix_tree
from mlcslm.decoding import search as our_search
from mlcslm.decoding.engine import Engine, running_engine
from mlcslm.decoding.engine_environment import find_engine
from mlcslm.errors import UserError
from mlcslm.model.build import build_speech_llm
from mlcslm.model.packed import PackedLinear, pack_language_model
from mlcslm.model.projector import SAMPLE_RATE
from mlcslm.model.speech_llm import SpeechLLM

ROOT = Path(__file__).parents[1]
VARIANTS = ("before", "own", "vllm", "generate")
SECONDS = (0.5, 7.2)  # of the utterances: nearly the challenge's dev set, whose mean is 3.9, 90 % below 7.1


@dataclass(frozen=True)
class Batch:
    """Prompts as our search reads them, and their names."""

    prompts: dict[str, torch.Tensor]
    names: list[str]


Decode = Callable[[], list[list[int]]]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    measure(run, options, readable, options.out)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure as the options say; returns the report that becomes JSON."""
    if "vllm" in options.variants and not options.vllm_python:
        raise UserError("no Python that has vLLM: name it with --vllm-python, or leave vllm out of --variants.")
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model, batches = _model_and_batches(options, work)
        decoding = DecodingConfig(max_new_tokens=options.tokens, batch_size=options.batch)
        variants: dict[str, Decode] = {
            "before": lambda: _as_before(model, batches, decoding),
            "own": lambda: _search(model, batches, decoding),
            "generate": lambda: [ids for one in batches for ids in _generated(model, one, decoding)],
        }
        version = ""
        if "vllm" in options.variants:
            info = find_engine(options.vllm_python)
            version = info.version
            engine = stack.enter_context(running_engine(info, model, decoding, work / "engine"))
            variants["vllm"] = lambda: _by_engine(engine, model, batches, decoding)
        pack_language_model(model)
        seconds: dict[str, list[float]] = {name: [] for name in options.variants}
        answers: dict[str, list[list[int]]] = {}
        for number in range(options.rounds):
            for name in options.variants[:: 1 if number % 2 == 0 else -1]:
                started = time.perf_counter()
                answers[name] = variants[name]()
                seconds[name].append(time.perf_counter() - started)
                assert {len(ids) for ids in answers[name]} == {options.tokens}
    first = answers[options.variants[0]]
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine() | {"threads": torch.get_num_threads(), "vllm": version},
        "language_model": Path(options.language_model).name if options.language_model else options.size,
        "utterances": options.utterances,
        "batch": options.batch,
        "prompt_tokens": sum(int(one.prompts["attention_mask"].sum()) for one in batches),
        "tokens": options.tokens,
        "seconds": seconds,
        "identical": {
            name: sum(one == other for one, other in zip(found, first, strict=True)) for name, found in answers.items()
        },
        "distinct": len({tuple(ids) for ids in first}),
        "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def _search(model: SpeechLLM, batches: Sequence[Batch], decoding: DecodingConfig) -> list[list[int]]:
    return [ids for one in batches for ids in our_search.search(model, one.prompts, one.names, decoding)]


def _as_before(model: SpeechLLM, batches: Sequence[Batch], decoding: DecodingConfig) -> list[list[int]]:
    """Prompts read with all their padding, weights not packed, and a probability for each row of the vocabulary."""
    scorer = our_search._Scorer

    def normalising(*arguments: Any, normalised: bool = True) -> Any:
        return scorer(*arguments)

    with (
        mock.patch.object(prefix_tree, "_similar_lengths", lambda lengths: []),
        mock.patch.object(our_search, "_Scorer", normalising),
        _unpacked(model),
    ):
        return _search(model, batches, decoding)


@contextmanager
def _unpacked(model: SpeechLLM) -> Iterator[None]:
    layers = [layer for layer in model.modules() if isinstance(layer, PackedLinear)]
    for layer in layers:
        layer.__class__ = torch.nn.Linear
    yield
    for layer in layers:
        layer.__class__ = PackedLinear


def _generated(model: SpeechLLM, batch: Batch, decoding: DecodingConfig) -> list[list[int]]:
    with _unpacked(model):
        return transformers_search(model, batch.prompts, batch.names, decoding)


def _by_engine(engine: Engine, model: SpeechLLM, batches: Sequence[Batch], decoding: DecodingConfig) -> list[list[int]]:
    """All prompts at once: the engine runs as many of them side by side as a batch has."""
    embedded = []
    with torch.inference_mode():
        for one in batches:
            prompts = dict(one.prompts)
            mask = prompts.pop("attention_mask").bool()
            embedded += [row[own] for row, own in zip(model.model.embed_prompts(**prompts), mask, strict=True)]
    return engine.answers(embedded, [name for one in batches for name in one.names], decoding)


def _model_and_batches(options: argparse.Namespace, work: Path) -> tuple[SpeechLLM, list[Batch]]:
    """A model whose answers run to the limit, and encoded noise to answer to, in batches of similar length."""
    languages = read_languages(ROOT / "config" / "languages.tsv")
    texts = [f"USER: {group.prompt} ASSISTANT:" for group in languages.values()]
    encoder, language_model, _ = foundation_folders(options.size, work, texts, options.seed)
    model, processor = build_speech_llm(
        encoder=encoder,
        language_model=options.language_model or language_model,
        languages=languages,
        projector_hidden=SIZES[options.size].projector_hidden,
        seed=options.seed,
    )
    without_id = model.generation_config.suppress_tokens or []
    never_ends(model, processor)
    model.generation_config.suppress_tokens = sorted({*without_id, *(model.generation_config.suppress_tokens or [])})
    rng = np.random.default_rng(options.seed)
    seconds = sorted(rng.uniform(*SECONDS, options.utterances), reverse=True)
    groups = rng.choice(list(languages), options.utterances)
    batches = []
    for start in range(0, options.utterances, options.batch):
        examples = []
        for length, group in zip(seconds[start:][: options.batch], groups[start:], strict=False):
            noise = rng.standard_normal(round(length * SAMPLE_RATE)).astype("float32") * 0.1
            tokens = processor.audio_token_count(len(noise))
            ids = processor.encode_prompt(group, "tagged-own-language", audio_tokens=tokens)
            examples.append({"input_ids": ids, "input_features": processor.log_mel([noise])[0][0]})
        batch = processor.collate(examples, side="left")
        with torch.no_grad():
            frames, mask = model.encode_audio(batch.pop("input_features"), batch.pop("input_features_mask"))
        names = [str(number) for number in range(start, start + len(examples))]
        batches.append(Batch(batch | {"encoder_frames": frames, "encoder_frames_mask": mask}, names))
    return model, batches


def readable(report: dict[str, Any]) -> list[str]:
    """The report as lines of text."""
    on, seconds = report["machine"], report["seconds"]
    lines = [
        f"{report['date']}: {on['device']}, {on['threads']} thread(s), {report['language_model']}: "
        f"{report['utterances']} utterances in batches of {report['batch']}, {report['prompt_tokens']:,} tokens of "
        f"prompts, answers of {report['tokens']} tokens, {report['distinct']} of them distinct"
    ]
    slowest = median(seconds[next(iter(seconds))])
    for name, rounds in seconds.items():
        what = on["vllm"] if name == "vllm" else name
        lines.append(
            f"{what:20} {median(rounds):8.1f} s ({min(rounds):.1f} to {max(rounds):.1f}), "
            f"{slowest / median(rounds):5.2f} times as fast; {report['identical'][name]} answers identical"
        )
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--size", choices=list(SIZES), default="base", help="shape of the models (default base: the small preset's)")
    add("--language-model", help="folder of a real language model, instead of random weights")
    add("--utterances", type=int, default=64, help="number of utterances, of all lengths (default 64)")
    add("--batch", type=int, default=32, help="utterances side by side (default 32)")
    add("--tokens", type=int, default=32, help="length of every answer (default 32)")
    add("--rounds", type=int, default=1, help="repetitions, in alternating order (default 1)")
    add("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="what to measure (default all)")
    add(
        "--vllm-python",
        default=os.environ.get("MLCSLM_VLLM_PYTHON", ""),
        help="Python that has vLLM (default MLCSLM_VLLM_PYTHON)",
    )
    add("--seed", type=int, default=17, help="of weights and noise (default 17)")
    add("--out", type=Path, default=ROOT / "results" / "benchmarks" / "engines.json", help="JSON to write")
    return parser


if __name__ == "__main__":
    main()
