"""How much faster a reinforcement step's answers are sampled by the project's search than by `generate`.

`generate` is called as it used to be: in chunks of the training micro-batch, once for the multinomial answers and once
for the beam-sampled ones, with unmerged adapters, each prompt read once per row.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from foundation import SIZES, foundation_folders
from fullsize_inputs import never_ends
from reporting import measure

from mlcslm.config.languages import read_languages
from mlcslm.config.stages import ReinforcementConfig
from mlcslm.model.build import build_speech_llm
from mlcslm.model.parts import PARTS, set_trainable
from mlcslm.model.projector import SAMPLE_RATE
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.training.rollouts import roll_out

ROOT = Path(__file__).parents[1]
Prompts = Mapping[str, torch.Tensor]


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    out = options.out or ROOT / "results" / "benchmarks" / f"rollouts-{options.size}.json"
    measure(run, options, readable, out)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure as the options say; returns the report that becomes JSON."""
    stage = ReinforcementConfig(
        kind="reinforcement",
        parent="foundation",
        trains=list(PARTS),
        rewards=["accuracy"],
        steps=1,
        batch_size=options.micro_batch,
        rollouts=options.rollouts,
        beam_rollouts=options.beam_rollouts,
        max_new_tokens=options.tokens,
    )
    model, prompts = _model_and_prompts(options)
    names = [str(number) for number in range(options.utterances)]
    variants: dict[str, Callable[[], list[list[int]]]] = {
        "generate": lambda: generate_in_chunks(model, prompts, stage),
        "search": lambda: roll_out(model, prompts, names, stage, (options.seed,)),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for number in range(options.rounds):
        for name in list(variants)[:: 1 if number % 2 == 0 else -1]:
            started, computed = time.perf_counter(), time.process_time()
            answers = variants[name]()
            if model.device.type == "cuda":
                torch.cuda.synchronize()
            taken[name].append((time.perf_counter() - started, time.process_time() - computed))
            assert [len(ids) for ids in answers] == [options.tokens] * options.utterances * options.rollouts
    return {
        "date": datetime.date.today().isoformat(),
        "device": torch.cuda.get_device_name() if model.device.type == "cuda" else "CPU",
        "size": options.size,
        "utterances": options.utterances,
        "micro_batch": options.micro_batch,
        "answers": [options.rollouts - options.beam_rollouts, options.beam_rollouts],
        "tokens": options.tokens,
        "seconds": {name: [clock for clock, _ in rounds] for name, rounds in taken.items()},
        "cpu_seconds": {name: [cpu for _, cpu in rounds] for name, rounds in taken.items()},
        "ratio": [old[0] / new[0] for old, new in zip(taken["generate"], taken["search"], strict=True)],
        "ratio_cpu": [old[1] / new[1] for old, new in zip(taken["generate"], taken["search"], strict=True)],
    }


def generate_in_chunks(model: SpeechLLM, prompts: Prompts, stage: ReinforcementConfig) -> list[list[int]]:
    """Multinomial and beam-sampled answers from transformers, `stage.batch_size` utterances at a time."""
    options: dict[str, Any] = {"do_sample": True, "temperature": stage.temperature, "top_k": 0, "top_p": 1.0}
    options |= {"max_new_tokens": stage.max_new_tokens}
    searches = [(stage.rollouts - stage.beam_rollouts, 1), (stage.beam_rollouts, stage.beams)]
    length, answers = prompts["input_ids"].shape[1], []
    for start in range(0, len(prompts["input_ids"]), stage.batch_size):
        chunk = {name: tensor[start : start + stage.batch_size] for name, tensor in prompts.items()}
        for count, beams in searches:
            if count > 0:
                output = model.generate(**chunk, **options, num_beams=beams, num_return_sequences=count)
                answers += output[:, length:].tolist()
    return answers


def _model_and_prompts(options: argparse.Namespace) -> tuple[SpeechLLM, Prompts]:
    """A model with random weights and adapters, whose answers run to the limit, and encoded noise to answer to."""
    languages = read_languages(ROOT / "config" / "languages.tsv")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    texts = [f"USER: {group.prompt} ASSISTANT:" for group in languages.values()]
    with tempfile.TemporaryDirectory() as work:
        encoder, language_model, _ = foundation_folders(options.size, Path(work), texts, options.seed)
        model, processor = build_speech_llm(
            encoder=encoder,
            language_model=language_model,
            languages=languages,
            projector_hidden=SIZES[options.size].projector_hidden,
            dtype="bfloat16" if device.type == "cuda" else "float32",
            seed=options.seed,
        )
    set_trainable(model, PARTS, seed=options.seed)
    never_ends(model, processor)
    model.to(device).eval()
    rng = np.random.default_rng(options.seed)
    examples = []
    for group in rng.choice(list(languages), options.utterances):
        samples = round(rng.uniform(0.8, 1.2) * options.seconds * SAMPLE_RATE)
        noise = rng.standard_normal(samples).astype("float32") * 0.1
        tokens = processor.audio_token_count(samples)
        ids = processor.encode_prompt(group, "reasoning", audio_tokens=tokens)
        examples.append({"input_ids": ids, "input_features": processor.log_mel([noise])[0][0]})
    batch = {name: tensor.to(device) for name, tensor in processor.collate(examples, side="left").items()}
    with torch.no_grad():
        features = batch.pop("input_features").to(model.dtype)
        frames, mask = model.encode_audio(features, batch.pop("input_features_mask"))
    return model, batch | {"encoder_frames": frames, "encoder_frames_mask": mask}


def readable(report: dict[str, Any]) -> list[str]:
    """The report as lines of text."""
    multinomial, beams = report["answers"]
    lines = [
        f"{report['date']}: {report['device']}, {report['size']}: {report['utterances']} utterances, {multinomial} "
        f"multinomial and {beams} beam-sampled answers of {report['tokens']} tokens each"
    ]
    for name, what in (("generate", f"{report['micro_batch']} utterances at a time"), ("search", "all at once")):
        clock, cpu = min(report["seconds"][name]), min(report["cpu_seconds"][name])
        lines.append(f"{name:10} {what:26} {clock:8.1f} s {cpu:8.1f} s of CPU time")
    ratios = ", ".join(
        f"{clock:.2f} ({cpu:.2f})" for clock, cpu in zip(report["ratio"], report["ratio_cpu"], strict=True)
    )
    return [*lines, f"times as fast, by the clock (by CPU time), each round: {ratios}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--size", choices=list(SIZES), default="base", help="shape of the models (default base: the small preset's)")
    add("--utterances", type=int, default=16, help="of the step (default 16)")
    add("--micro-batch", type=int, default=4, help="utterances per chunk of `generate` (default 4)")
    add("--rollouts", type=int, default=4, help="answers per utterance (default 4)")
    add("--beam-rollouts", type=int, default=2, help="of these, beam-sampled (default 2)")
    add("--tokens", type=int, default=100, help="length of every answer (default 100)")
    add("--seconds", type=float, default=3.9, help="mean length of the utterances (default 3.9)")
    add("--rounds", type=int, default=1, help="repetitions, in alternating order (default 1)")
    add("--seed", type=int, default=17, help="of weights, noise and answers (default 17)")
    add("--out", type=Path, help="JSON file (default results/benchmarks/rollouts-SIZE.json)")
    return parser


if __name__ == "__main__":
    main()
