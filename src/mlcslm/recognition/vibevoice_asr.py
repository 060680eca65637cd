"""VibeVoice-ASR: answers with a JSON list of turns; heard utterance by utterance, only their words count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import soxr
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor

from mlcslm.config.recognizers import RecognizerDecodingConfig
from mlcslm.corpus.audio import SAMPLE_RATE, Audio
from mlcslm.recognition.generating import GeneratingRecognizer, by_one
from mlcslm.recognition.loading import Source


def load(source: Source, decoding: RecognizerDecodingConfig) -> VibeVoiceAsr:
    """The VibeVoice-ASR checkpoint at `source`."""
    return VibeVoiceAsr(source.model(AutoModelForSpeechSeq2Seq), source.processor(AutoProcessor), decoding)


class VibeVoiceAsr(GeneratingRecognizer):
    """VibeVoice-ASR, which hears 24 kHz, each utterance by itself: padding changes what its tokenizers hear."""

    can_be_told = False

    def parts(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> list[list[int]]:
        """One utterance each."""
        return by_one(audio)

    def inputs(self, audio: Sequence[Audio], languages: Sequence[str | None]) -> dict[str, Any]:
        """The chat prompt with audio."""
        rate = self.processor.feature_extractor.sampling_rate
        heard = [soxr.resample(one, SAMPLE_RATE, rate) for one in audio]
        request = self.processor.apply_transcription_request(heard, processor_kwargs={"sampling_rate": rate})
        # By default noise is added to what is heard, and an utterance would have another answer every time.
        return {**request, "sample": False}

    def read(self, raw: str, language: str | None) -> tuple[str, str | None, bool]:
        """The turns' words in order; all of the answer if it is no list of turns."""
        turns = self.processor.extract_speaker_dict(raw)
        if isinstance(turns, str):
            return turns, None, False
        return " ".join(str(turn.get("Content", "")).strip() for turn in turns), None, True
