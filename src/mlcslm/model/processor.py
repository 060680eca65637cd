"""Audio and text -> the speech LLM's input tensors, the same for training and decoding.

Shapes: B utterances, M mel bins, F mel frames (100 per second), T encoder frames (50 per second), L text positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from transformers import AddedToken, PreTrainedTokenizerBase, WhisperFeatureExtractor

from mlcslm.config.languages import Group
from mlcslm.model.log_mel import EncoderWindow, LogMel, pad_features
from mlcslm.text.templates import (
    AUDIO_TOKEN,
    Answer,
    Choice,
    Template,
    added_tokens,
    parse_answer,
    prompt_text,
    target_text,
)

IGNORED_LABEL = -100


def add_tokens(tokenizer: PreTrainedTokenizerBase, groups: Mapping[str, Group]) -> dict[str, int]:
    """Add the templates' tokens and the `<|audio|>` placeholder to `tokenizer`; return them with their ids.

    The tags absorb the spaces before them, so that `<LANG_EN> <transcribe> yes </transcribe>` spends no tokens on
    spaces; the space after a tag belongs to the next word, which is then tokenised as in running text. Tags are not
    "special" to the tokenizer: decoding with `skip_special_tokens=True` keeps them and drops end, padding and
    placeholder tokens.
    """
    tags = added_tokens(groups.values())
    tokenizer.add_tokens([AddedToken(tag, lstrip=True, normalized=False, special=False) for tag in tags])
    tokenizer.add_tokens(AddedToken(AUDIO_TOKEN, lstrip=True, normalized=False, special=True), special_tokens=True)
    return {token: token_id(tokenizer, token) for token in (*tags, AUDIO_TOKEN)}


def token_id(tokenizer: PreTrainedTokenizerBase, token: str) -> int:
    """Id of a single token."""
    return cast("int", tokenizer.convert_tokens_to_ids(token))


class SpeechProcessor:
    """Makes log-mel features, prompts, targets and batches, and parses answers.

    tokenizer: the language model's, with the tokens of `add_tokens`; groups: the languages table; feature_extractor,
    encoder_window, max_mel_frames: see `LogMel`, available as `features`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        feature_extractor: WhisperFeatureExtractor,
        groups: Mapping[str, Group],
        *,
        encoder_window: EncoderWindow = "true_length",
        max_mel_frames: int = 3000,
    ) -> None:
        self.tokenizer = tokenizer
        self.features = LogMel(feature_extractor, encoder_window=encoder_window, max_mel_frames=max_mel_frames)
        self.groups = dict(groups)
        self.audio_token_id = token_id(tokenizer, AUDIO_TOKEN)
        self.end_token_id: int = tokenizer.eos_token_id
        self.pad_token_id: int = self.end_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def audio_token_count(self, samples: int) -> int:
        """Number of audio tokens that an utterance of `samples` (at 16 kHz) costs: 39 for 3.9 s, 300 if "full"."""
        return self.features.audio_token_count(samples)

    def log_mel(self, audio: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel features (B, M, F), zero in the padding, and their mask (B, F): see `LogMel`."""
        return self.features(audio)

    def encode_prompt(
        self,
        group: str,
        template: Template,
        *,
        audio_tokens: int,
        context: Sequence[str] = (),
        first_passes: Sequence[str] = (),
    ) -> list[int]:
        """Ids of the prompt, with `audio_tokens` placeholders: exactly the prefix of training ids.

        Starts with a begin token if the language model's tokenizer adds one.
        """
        ids = list(self.tokenizer(prompt_text(self.groups[group], template, context, first_passes))["input_ids"])
        if ids[-1] == self.end_token_id:
            ids.pop()
        position = ids.index(self.audio_token_id)
        return [*ids[:position], *[self.audio_token_id] * audio_tokens, *ids[position + 1 :]]

    def encode_target(
        self,
        group: str,
        template: Template,
        transcript: str,
        think: str | None = None,
        choice: Choice | None = None,
    ) -> list[int]:
        """Ids of the answer to train on, the end token last."""
        text = target_text(self.groups[group], template, transcript, think, choice)
        return [*self.tokenizer(text, add_special_tokens=False)["input_ids"], self.end_token_id]

    def encode_example(
        self,
        group: str,
        template: Template,
        *,
        audio_tokens: int,
        transcript: str,
        context: Sequence[str] = (),
        think: str | None = None,
        first_passes: Sequence[str] = (),
        choice: Choice | None = None,
    ) -> dict[str, Any]:
        """`input_ids` and `labels` of a training example: prompt and answer, labels -100 over the prompt.

        Its audio is added as `input_features` (M, F) or `encoder_frames` (T, d) before `collate`.
        """
        prompt = self.encode_prompt(
            group, template, audio_tokens=audio_tokens, context=context, first_passes=first_passes
        )
        target = self.encode_target(group, template, transcript, think, choice)
        return {"input_ids": prompt + target, "labels": [IGNORED_LABEL] * len(prompt) + target}

    def collate(
        self, examples: Sequence[Mapping[str, Any]], side: Literal["left", "right"] = "right"
    ) -> dict[str, torch.Tensor]:
        """A batch for the model's forward (pad on the right) or generate (on the left).

        Takes `input_ids` of each example, and if the first has them, `labels`, `input_features` (M, F) and
        `encoder_frames` (T, d), the latter two with a mask.
        """
        ids = [example["input_ids"] for example in examples]
        batch = {
            "input_ids": _pad_ids(ids, self.pad_token_id, side),
            "attention_mask": _pad_ids([[1] * len(row) for row in ids], 0, side),
        }
        if "labels" in examples[0]:
            batch["labels"] = _pad_ids([example["labels"] for example in examples], IGNORED_LABEL, side)
        if "input_features" in examples[0]:
            features, mask = pad_features([example["input_features"] for example in examples])
            batch |= {"input_features": features, "input_features_mask": mask}
        if "encoder_frames" in examples[0]:
            frames, mask = pad_features([example["encoder_frames"].T for example in examples])
            batch |= {"encoder_frames": frames.transpose(1, 2), "encoder_frames_mask": mask}
        return batch

    def completion(self, ids: Sequence[int]) -> tuple[list[int], bool]:
        """Generated `ids` up to and including the first end token, and whether there is one (else truncated)."""
        ids = list(ids)
        if self.end_token_id in ids:
            return ids[: ids.index(self.end_token_id) + 1], True
        return ids, False

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, with every tag and end token."""
        text = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return cast("str", text)

    def parse(
        self,
        ids: Sequence[int],
        template: Template,
        longest_s: float = float("inf"),
        first_passes: Sequence[str] = (),
    ) -> Answer:
        """The answer in generated `ids`: `parse_answer` of their text up to the end token."""
        ids, ended = self.completion(ids)
        return parse_answer(self.decode(ids[:-1] if ended else ids), template, longest_s, first_passes)


def _pad_ids(rows: Sequence[Sequence[int]], value: int, side: Literal["left", "right"]) -> torch.Tensor:
    batch = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.long)
    for row, ids in enumerate(rows):
        start = batch.shape[1] - len(ids) if side == "left" else 0
        batch[row, start : start + len(ids)] = torch.as_tensor(ids, dtype=torch.long)
    return batch
