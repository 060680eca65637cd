"""What reinforcement learns from: utterances to answer, without an answer to learn."""

from __future__ import annotations

from typing import Any

from mlcslm.text.protocols import normalise_reference
from mlcslm.training.batches import Key
from mlcslm.training.dataset import UtteranceDataset


class PromptDataset(UtteranceDataset):
    """As `UtteranceDataset`; asked for (pass, index), it gives what rewards are computed from, and not yet the audio:
    `utterance_id`, `reference` (as `mlcslm-2025` normalises it), `unit` that errors are counted in, `key`, and an empty
    `prompt`, which trl asks for. `prompt` gives what the model is asked.
    """

    def __getitem__(self, key: Key) -> dict[str, Any]:
        row = self.rows[key[1]]
        return {
            "prompt": "",
            "key": key,
            "utterance_id": row["utterance_id"],
            "reference": normalise_reference(row["text"]),
            "unit": self.processor.groups[row["grp"]].unit,
        }

    def prompt(self, key: Key) -> dict[str, Any]:
        """`input_ids` of the prompt, with `encoder_frames` (T, d) or `input_features` (M, F), to be collated."""
        audio, samples = self.audio(key)
        tokens = self.processor.audio_token_count(samples)
        group = self.rows[key[1]]["grp"]
        return {"input_ids": self.processor.encode_prompt(group, self.template, audio_tokens=tokens)} | audio
