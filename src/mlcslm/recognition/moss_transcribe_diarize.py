"""MOSS-Transcribe-Diarize: answers `[start][S01]words[end]` per turn; heard by utterance, only the words count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoModelForMultimodalLM, AutoProcessor

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.recognition.generating import GeneratingRecognizer, by_one
from mlcslm.recognition.loading import Source


def load(source: Source, decoding: RecognizerDecodingConfig) -> MossTranscribeDiarize:
    """The MOSS-Transcribe-Diarize checkpoint at `source`."""
    return MossTranscribeDiarize(source.model(AutoModelForMultimodalLM), source.processor(AutoProcessor), decoding)


class MossTranscribeDiarize(GeneratingRecognizer):
    """MOSS-Transcribe-Diarize, each utterance by itself."""

    can_be_told = False

    def parts(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> list[list[int]]:
        """One utterance each."""
        return by_one(audio)

    def inputs(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> dict[str, Any]:
        """The chat prompt with audio."""
        request = self.processor.apply_transcription_request(
            list(audio), processor_kwargs={"sampling_rate": SAMPLE_RATE, "return_tensors": "pt"}
        )
        return dict(request)

    def read(self, raw: str, language: str | None) -> tuple[str, str | None, bool]:
        """The turns' words in order; all of the answer if it has no turns."""
        turns = self.processor.extract_speaker_dict(raw)
        if isinstance(turns, str):
            return turns, None, False
        return " ".join(turn["Content"] for turn in turns), None, True
