"""Transcripts of recordings by an exported model or a checkpoint, with the workflow's decoder but outside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mlcslm.config.decoding import DecodingConfig
from mlcslm.config.languages import Group
from mlcslm.corpus.audio import SAMPLE_RATE, count_samples, read_audio
from mlcslm.corpus.faults import FaultKind
from mlcslm.corpus.samples import inspect_audio
from mlcslm.decoding.batching import FittingBatches, length_buckets
from mlcslm.decoding.context import context_size, decode_with_hypothesis_context
from mlcslm.decoding.decoder import Decoder, needs_ctc_head
from mlcslm.decoding.first_pass import open_first_passes, refuse_other_checkpoints
from mlcslm.decoding.generation import pieces_to_decode
from mlcslm.errors import UserError
from mlcslm.model.checkpoint import load_checkpoint
from mlcslm.model.checkpoint_file import CHECKPOINT_FILE, read_checkpoint
from mlcslm.model.ctc import CtcHead, head_beside, load_ctc_head
from mlcslm.model.exported import EXPORT_FILE, load_export
from mlcslm.model.lora import merge_lora
from mlcslm.model.packed import pack_language_model
from mlcslm.model.precision import model_dtype
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.runtime.progress import progress, say

_PROMPTS_OF_A_LANGUAGE = ("tagged-own-language", "reasoning")


class Transcriber:
    """A model that transcribes: see `load`.

    name: the checkpoint's; recipe: how it was trained; context: utterances of context in its prompts; decoding: how
    answers are searched for.
    """

    def __init__(
        self,
        model: SpeechLLM,
        processor: SpeechProcessor,
        *,
        name: str,
        recipe: Mapping[str, Any],
        decoding: DecodingConfig,
        ctc: CtcHead | None = None,
    ) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model.to(device)  # type: ignore[arg-type]  # transformers' decorator hides `self`
        pack_language_model(self.model)
        self.processor = processor
        self.name = name
        self.recipe = dict(recipe)
        self.decoding = decoding
        self.ctc = ctc
        self.context = context_size(decoding, recipe, name)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        decoding: DecodingConfig | None = None,
        languages: Mapping[str, Group] | None = None,
        encoder: str | None = None,
        language_model: str | None = None,
    ) -> Transcriber:
        """The model in `folder`: one that `mlcslm export` wrote, which needs nothing else, or a checkpoint.

        decoding: by default the export's own, or greedy search for a checkpoint; languages, encoder, language_model:
        for a checkpoint, as in `load_checkpoint`. Raises UserError for a folder that is neither, and for a checkpoint
        whose prompts have answers of another.
        """
        folder = Path(folder)
        if (folder / EXPORT_FILE).is_file():
            model, processor, info = load_export(folder, dtype=None if torch.cuda.is_available() else "float32")
            found = decoding or DecodingConfig.model_validate(info.decoding)
            head = load_ctc_head(folder) if needs_ctc_head(info.recipe, found) else None
            return cls(model, processor, name=info.checkpoint, recipe=info.recipe, decoding=found, ctc=head)
        if not (folder / CHECKPOINT_FILE).is_file():
            raise UserError(
                f"{folder}: found neither {EXPORT_FILE} nor {CHECKPOINT_FILE}. Expected a folder that "
                "`mlcslm export` wrote, or a checkpoint, results/checkpoints/<name>."
            )
        if languages is None:
            raise UserError(f"{folder}: a checkpoint needs the languages table that it was trained with.")
        checkpoint = read_checkpoint(folder, verify=False)
        refuse_other_checkpoints(checkpoint.recipe, checkpoint.name)
        model, processor = load_checkpoint(
            folder, languages=languages, encoder=encoder, language_model=language_model, dtype=model_dtype()
        )
        merge_lora(model)
        search, recipe = decoding or DecodingConfig(), checkpoint.recipe
        head = load_ctc_head(head_beside(folder, model), model) if needs_ctc_head(recipe, search) else None
        return cls(model, processor, name=checkpoint.name, recipe=recipe, decoding=search, ctc=head)

    def __call__(self, audio: str | Path, group: str | None = None) -> str:
        """Transcript of a recording, in `group` (see `find_group`)."""
        rows = self.rows_of(Path(audio), group)
        texts = {one["utterance_id"]: one["transcript"] for one in self.decode(rows)}
        return " ".join(filter(None, (texts[row["utterance_id"]] for row in rows)))

    def rows_of(self, audio: Path, group: str | None = None) -> list[dict[str, Any]]:
        """Manifest rows of a recording: one, or one per segment of speech if it exceeds the encoder's window (30 s).

        Speech is found by Silero VAD and split into segments of at most that length. Raises UserError if the file or
        any of its samples cannot be transcribed; a speaker on each channel is reported, and both are heard as one.
        """
        return recording_rows(audio, self.find_group(group), self.processor.features.max_samples)

    def decode(self, rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """A hypothesis (`decoding.decoder.SCHEMA`) for each manifest row, in the order in which they are found."""
        for row in rows:
            self.find_group(row["grp"])
        heard = open_first_passes(self.recipe, self.ctc, (), self.name)
        template = self.recipe["template"]
        decoder = Decoder(self.model, self.processor, template, self.decoding, ctc=self.ctc, first_passes=heard)
        label = f"transcribing with {self.name}"
        pieces = pieces_to_decode(rows, decoder, label)
        with progress(len(rows), label, "utterance") as bar:
            for hypotheses in self._batches(decoder, pieces.rows, label):
                whole = pieces.join(hypotheses)
                bar.update(len(whole))
                yield from whole

    def find_group(self, group: str | None) -> str:
        """The group called `group`, by its name or its language, ignoring case; None: any.

        Raises UserError if there is no such group, if several share the language, or if None is not enough: from the
        third stage on, prompts are in the utterance's language, unless the model knows only one.
        """
        groups = self.processor.groups
        if group is None:
            one_language = len({(one.prompt, one.token) for one in groups.values()}) == 1
            if one_language or self.recipe["template"] not in _PROMPTS_OF_A_LANGUAGE:
                return next(iter(groups))
            known = ", ".join(dict.fromkeys(one.language for one in groups.values()))
            raise UserError(
                f"{self.name}: its prompt is in the language that is spoken, so it cannot find that out. Name the "
                f"language or the group: --group LANGUAGE. Languages: {known}; groups: {', '.join(groups)}."
            )
        expected = group.casefold()
        found = [name for name in groups if name.casefold() == expected]
        found = found or [name for name, one in groups.items() if one.language.casefold() == expected]
        if len({(groups[name].prompt, groups[name].token) for name in found}) != 1:
            known = ", ".join(found or groups)
            raise UserError(f"group {group!r}: expected one of: {known}.")
        return found[0]

    def group_of(self, token: str | None) -> str | None:
        """The group of the language token that the model answered; None for no token, or one of several groups."""
        found = [name for name, group in self.processor.groups.items() if group.token == token]
        return found[0] if len(found) == 1 else None

    def _batches(self, decoder: Decoder, rows: Sequence[dict[str, Any]], label: str) -> Iterable[list[dict[str, Any]]]:
        if self.decoding.context == "hypotheses":
            yield from decode_with_hypothesis_context(decoder, rows, self.context, {})
            return
        decode = FittingBatches(decoder.decode, self.decoding.batch_size, label)
        for batch in length_buckets(rows, self.decoding.batch_size):
            yield from decode(batch)


def recording_rows(audio: Path, group: str | None, longest: int) -> list[dict[str, Any]]:
    """Manifest rows of a recording: see `Transcriber.rows_of`. longest: samples that a row may have."""
    for kind, message in inspect_audio(audio).problems:
        if kind is not FaultKind.SPEAKER_CHANNELS:
            raise UserError(f"{audio}: {message}")
        say(f"{audio}: has a speaker on each channel; the mean of both is transcribed. Split it to separate them.")
    samples = count_samples(audio)
    spans = [(0.0, samples / SAMPLE_RATE)]
    if samples > longest:
        from mlcslm.diarization.vad import make_detector

        found = make_detector("silero", longest / SAMPLE_RATE)(read_audio(audio))
        spans = [(segment.start, segment.end) for segment in found]
    return [
        {
            "utterance_id": f"{audio}-{turn:05d}",
            "session_id": str(audio),
            "grp": group,
            "turn": turn,
            "audio": str(audio),
            "start": start,
            "end": end,
        }
        for turn, (start, end) in enumerate(spans)
    ]
