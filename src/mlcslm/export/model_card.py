"""The model card of an exported checkpoint: what it is, how to load it, and its results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlcslm.config.languages import Group
from mlcslm.results.database import open_database

_RATES = {"word": "WER", "character": "CER"}


@dataclass(frozen=True)
class Measured:
    """The results of a checkpoint in a database.

    config: the whole configuration; systems: rows of (decoding, split, utterances, rate, low, high), in percent;
    groups: rows of (group, split, rate) for the requested decoding; protocol: of scoring; corpus: what was scored.
    """

    config: dict[str, Any]
    systems: list[tuple[str, str, int, float, float | None, float | None]]
    groups: list[tuple[str, str, float]]
    protocol: str
    corpus: str


def read_measured(database: Path, checkpoint: str, decoding: str) -> Measured:
    """The results of `checkpoint` in `database`; both lists are empty if it was not scored. Raises UserError."""
    with open_database(database) as connection:
        settings = dict(connection.execute("SELECT key, value FROM settings").fetchall())
        systems = connection.execute(
            "SELECT s.decoding, w.split, w.utterances, w.wer, w.low, w.high FROM wer_by_system AS w "
            "JOIN systems AS s USING (system) WHERE s.checkpoint = ? ORDER BY s.decoding, w.split",
            [checkpoint],
        ).fetchall()
        groups = connection.execute(
            "SELECT w.grp, w.split, w.wer FROM wer_by_group AS w JOIN systems AS s USING (system) "
            "WHERE s.checkpoint = ? AND s.decoding = ? AND w.wer IS NOT NULL ORDER BY w.grp, w.split",
            [checkpoint, decoding],
        ).fetchall()
    return Measured(json.loads(settings["config"]), systems, groups, settings["protocol"], settings["corpus"])


def model_card(
    name: str,
    info: Mapping[str, Any],
    groups: Mapping[str, Group],
    decoding: str,
    measured: Measured | None,
    licence: str | None = None,
    *,
    merged: bool = False,
) -> str:
    """The card, a Markdown page with a model hub's header.

    name: of the model; info: contents of `mlcslm.json`; decoding: name of the default decoding; licence: the hub's
    identifier for the weights' licence; merged: for a language model with its audio side beside it.
    """
    parts = [
        f"# {_text(name)}",
        _summary(info, groups),
        f"## Use\n\n{(_use_merged if merged else _use)(next(iter(groups)))}",
        f"## Results\n\n{_results(decoding, measured)}",
        f"## Training\n\n{_training(info)}",
    ]
    return f"---\n{_header(name, info, groups, decoding, measured, licence)}---\n\n" + "\n\n".join(parts) + "\n"


def _header(
    name: str,
    info: Mapping[str, Any],
    groups: Mapping[str, Group],
    decoding: str,
    measured: Measured | None,
    licence: str | None,
) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = (
        []
        if measured is None
        else [
            EvalResult(
                task_type="automatic-speech-recognition",
                dataset_type="mlc-slm",
                dataset_name=f"MLC-SLM layout: {measured.corpus}",
                dataset_split=split,
                metric_type="wer",
                metric_name=f"WER/CER, {measured.protocol}",
                metric_value=round(rate, 2),
            )
            for used, split, _, rate, _, _ in measured.systems
            if used == decoding and rate is not None
        ]
    )
    hub_ids = [about["source"] for about in info["foundation"].values() if about["source"].count("/") == 1]
    data = ModelCardData(
        language=sorted({group.language for group in groups.values()}),
        license=licence,
        library_name="mlcslm",
        pipeline_tag="automatic-speech-recognition",
        base_model=hub_ids or None,
        model_name=name if results else None,
        eval_results=results or None,
        tags=["speech", "multilingual", "conversational"],
    )
    return data.to_yaml() + "\n"


def _summary(info: Mapping[str, Any], groups: Mapping[str, Group]) -> str:
    models = info["foundation"]
    return (
        f"A speech language model: the encoder of {_text(models['encoder']['source'])} listens, a projector turns its "
        f"output into ten tokens per second, and {_text(models['language_model']['source'])} transcribes them. It is "
        f"checkpoint `{info['checkpoint']}`, trained with mlcslm {info['mlcslm_version']}, with adapters merged into "
        f"the weights ({info['dtype']}).\n\n"
        f"Languages and accents: {', '.join(_text(name) for name in groups)}. It was trained on conversations of two "
        "speakers, segmented into utterances of at most 30 s; longer recordings are split at pauses."
    )


def _use(group: str) -> str:
    return (
        "All you need is the package `mlcslm` and this folder:\n\n"
        f"```\nmlcslm transcribe FOLDER recording.wav --group {group}\n```\n\n"
        "```python\n"
        "from mlcslm.decoding.transcription import Transcriber\n\n"
        'model = Transcriber.load("FOLDER")\n'
        f'print(model("recording.wav", group="{group}"))\n'
        "```\n\n"
        "`transformers.AutoModelForCausalLM.from_pretrained` loads the bare model once `mlcslm.model.speech_llm` is "
        "imported; no code is downloaded with the weights. `mlcslm.json` has the SHA-256 of each file."
    )


def _use_merged(group: str) -> str:
    return (
        "The folder is a plain causal language model, which any engine loads; `audio` holds the rest. With the package "
        "`mlcslm`, speech becomes the language model's input embeddings:\n\n"
        "```python\n"
        "from mlcslm.corpus.audio import read_audio\n"
        "from mlcslm.model.merged import SpeechPrompts\n"
        "from transformers import AutoModelForCausalLM\n\n"
        'prompts, model = SpeechPrompts.load("FOLDER"), AutoModelForCausalLM.from_pretrained("FOLDER")\n'
        f'(prompt,) = prompts([read_audio("recording.wav")], ["{group}"])\n'
        "(ids,) = model.generate(inputs_embeds=prompt[None], max_new_tokens=180, do_sample=False).tolist()\n"
        "print(prompts.parse(ids).transcript)\n"
        "```"
    )


def _results(decoding: str, measured: Measured | None) -> str:
    if measured is None or not measured.systems:
        return "None: the results it was exported with do not include it."
    lines = ["| decoding | split | utterances | WER/CER % | 95 % interval |", "|:---|:---|---:|---:|---:|"]
    for used, split, utterances, rate, low, high in measured.systems:
        interval = "" if low is None else f"{low:.2f} to {high:.2f}"
        rendered = "" if rate is None else f"{rate:.2f}"
        lines.append(f"| {_text(used)} | {split} | {utterances:,} | {rendered} | {interval} |")
    about = (
        f"Corpus: {_text(measured.corpus)}. Errors over reference tokens, pooled over all groups, protocol "
        f"`{measured.protocol}`; characters in languages without spaces, words in the others. The interval is "
        "over sessions; fewer than five have none."
    )
    return "\n".join(lines) + f"\n\n{about}" + _by_group(decoding, measured.groups)


def _by_group(decoding: str, groups: Sequence[tuple[str, str, float]]) -> str:
    if not groups:
        return ""
    splits = sorted({split for _, split, _ in groups})
    rates = {(name, split): f"{rate:.2f}" for name, split, rate in groups}
    lines = [f"| WER/CER %, {_text(decoding)} | {' | '.join(splits)} |", "|:---|" + "---:|" * len(splits)]
    for name in dict.fromkeys(name for name, _, _ in groups):
        lines.append(f"| {_text(name)} | {' | '.join(rates.get((name, split), '') for split in splits)} |")
    return "\n\n" + "\n".join(lines)


def _training(info: Mapping[str, Any]) -> str:
    recipe = info["recipe"]
    method = f" ({_text(recipe['method'])})" if recipe.get("method") else ""
    return (
        f"Stage `{info['checkpoint']}`{method}, from `{info['parent']}`; template `{info['template']}`. Foundation "
        "models with fingerprints, then the stage's recipe:\n\n"
        f"{_json(info['foundation'])}\n\n{_json(recipe)}"
    )


def _json(value: Any) -> str:
    """A block of JSON that its content cannot close."""
    content = json.dumps(value, indent=2).replace("`", "\\u0060")
    return f"```json\n{content}\n```"


def _text(value: str) -> str:
    """Text escaped for Markdown."""
    for character in "\\|`*<>[]":
        value = value.replace(character, f"\\{character}")
    return " ".join(value.split())
