"""Audio and text -> the tensors that the speech LLM reads, the same for training and for decoding.

Shapes: B utterances, M mel bins, F mel frames (100 a second), T encoder frames (50 a second), L text positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from transformers import AddedToken, PreTrainedTokenizerBase, WhisperFeatureExtractor

from mlcslm.errors import UserError
from mlcslm.languages import Group
from mlcslm.model.projector import HOP_LENGTH, SAMPLE_RATE, audio_token_count, mel_frame_count
from mlcslm.text.templates import (
    AUDIO_TOKEN,
    END_SPEECH,
    Answer,
    Template,
    added_tokens,
    parse_answer,
    prompt_text,
    target_text,
)

EncoderWindow = Literal["true_length", "full"]
IGNORED_LABEL = -100


def add_tokens(tokenizer: PreTrainedTokenizerBase, groups: Mapping[str, Group]) -> dict[str, int]:
    """Add the templates' tokens and the `<|audio|>` placeholder to `tokenizer`; return them with their ids.

    The tags swallow the spaces beside them, so that `<LANG_EN> <transcribe> yes </transcribe>` costs no token for the
    spaces; only `</speech>` leaves the space after it, which belongs to the prompt's first word. They are not "special"
    to the tokenizer: decoding with `skip_special_tokens=True` keeps them and drops ends, paddings and placeholders.
    """
    tags = added_tokens(groups.values())
    tokenizer.add_tokens(
        [AddedToken(tag, lstrip=True, rstrip=tag != END_SPEECH, normalized=False, special=False) for tag in tags]
    )
    tokenizer.add_tokens(AddedToken(AUDIO_TOKEN, lstrip=True, normalized=False, special=True), special_tokens=True)
    return {token: tokenizer.convert_tokens_to_ids(token) for token in (*tags, AUDIO_TOKEN)}


class SpeechProcessor:
    """Makes log-mel features, prompts, targets and batches, and reads answers back.

    tokenizer: the language model's, with the tokens of `add_tokens`; feature_extractor: the encoder's own settings
    (number of mel bins, filters); groups: the languages sheet; encoder_window: "true_length", or "full" for Whisper's
    30 s and its 300 audio tokens whatever the length (as WeST does); max_mel_frames: the encoder's window; audio beyond
    it is cut, as Whisper does.
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
        if encoder_window not in get_args(EncoderWindow):
            raise UserError(
                f"encoder window {encoder_window!r} found, expected one of: {', '.join(get_args(EncoderWindow))}."
            )
        if (feature_extractor.sampling_rate, feature_extractor.hop_length) != (SAMPLE_RATE, HOP_LENGTH):
            raise UserError(
                f"encoder's feature extractor: {feature_extractor.sampling_rate} Hz and {feature_extractor.hop_length} "
                f"samples a frame found, expected Whisper's {SAMPLE_RATE} and {HOP_LENGTH}."
            )
        self.tokenizer = tokenizer
        self.feature_extractor = feature_extractor
        self.groups = dict(groups)
        self.encoder_window = encoder_window
        self.max_samples = max_mel_frames * HOP_LENGTH
        self.audio_token_id: int = tokenizer.convert_tokens_to_ids(AUDIO_TOKEN)
        self.end_token_id: int = tokenizer.eos_token_id
        self.pad_token_id: int = self.end_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._window = torch.hann_window(feature_extractor.n_fft)
        self._filters = torch.from_numpy(feature_extractor.mel_filters).T.to(torch.float32)

    def mel_frame_count(self, samples: int) -> int:
        """Number of mel frames that the encoder reads of an utterance of `samples` (at 16 kHz)."""
        return mel_frame_count(self.max_samples if self.encoder_window == "full" else min(samples, self.max_samples))

    def audio_token_count(self, samples: int) -> int:
        """Number of audio tokens that an utterance of `samples` (at 16 kHz) costs: 39 for 3.9 s, 300 if "full"."""
        return audio_token_count(self.mel_frame_count(samples) * HOP_LENGTH)

    def log_mel(self, audio: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel features (B, M, F), zeros where they pad, and their mask (B, F), of mono float audio at 16 kHz.

        Each utterance's values are those of transformers' WhisperFeatureExtractor, and do not depend on the batch.
        """
        return pad_features([self._log_mel_of(samples) for samples in audio])

    def _log_mel_of(self, audio: np.ndarray) -> torch.Tensor:
        samples = torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float32))[: self.max_samples]
        frames = self.mel_frame_count(len(samples))
        # Zeros as wide as a window stand for the silence that Whisper pads with; more of it changes no true frame.
        padded = min(frames * HOP_LENGTH + self.feature_extractor.n_fft, self.max_samples)
        samples = torch.nn.functional.pad(samples, (0, max(0, padded - len(samples))))
        spectrum = torch.stft(
            samples, self.feature_extractor.n_fft, HOP_LENGTH, window=self._window, return_complex=True
        )
        power = (spectrum[:, :frames].abs() ** 2).contiguous()
        log_mel = torch.clamp(self._filters @ power, min=1e-10).log10()
        return (torch.maximum(log_mel, log_mel.max() - 8.0) + 4.0) / 4.0

    def encode_prompt(
        self, group: str, template: Template, *, audio_tokens: int, context: Sequence[str] = ()
    ) -> list[int]:
        """Ids of the prompt, with `audio_tokens` placeholders: exactly what training ids begin with.

        A begin token comes first where the language model's tokenizer sets one.
        """
        ids = list(self.tokenizer(prompt_text(self.groups[group], template, context))["input_ids"])
        if ids[-1] == self.end_token_id:
            ids.pop()
        place = ids.index(self.audio_token_id)
        return [*ids[:place], *[self.audio_token_id] * audio_tokens, *ids[place + 1 :]]

    def encode_target(self, group: str, template: Template, transcript: str, think: str | None = None) -> list[int]:
        """Ids of the answer to train on, the end token last."""
        text = target_text(self.groups[group], template, transcript, think)
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
    ) -> dict[str, Any]:
        """`input_ids` and `labels` of a training example: prompt and answer, labels -100 over the prompt.

        Its audio is added as `input_features` (M, F) or `encoder_frames` (T, d) before `collate`.
        """
        prompt = self.encode_prompt(group, template, audio_tokens=audio_tokens, context=context)
        target = self.encode_target(group, template, transcript, think)
        return {"input_ids": prompt + target, "labels": [IGNORED_LABEL] * len(prompt) + target}

    def collate(
        self, examples: Sequence[Mapping[str, Any]], side: Literal["left", "right"] = "right"
    ) -> dict[str, torch.Tensor]:
        """A batch for the model's forward (pad on the right) or generate (on the left).

        Of each example it takes `input_ids`, and where the first has them `labels`, `input_features` (M, F) and
        `encoder_frames` (T, d), with a mask for each.
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
        """Generated `ids` up to and with the first end token, and whether there is one (or a limit cut them)."""
        ids = list(ids)
        if self.end_token_id in ids:
            return ids[: ids.index(self.end_token_id) + 1], True
        return ids, False

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, every tag and end token kept."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)

    def parse(self, ids: Sequence[int], template: Template) -> Answer:
        """What generated `ids` say: `parse_answer` of their text up to the end token."""
        ids, ended = self.completion(ids)
        return parse_answer(self.decode(ids[:-1] if ended else ids), template)


def pad_features(features: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack of (M, F_i) features padded with zeros to (B, M, F), and its mask (B, F)."""
    longest = max(feature.shape[1] for feature in features)
    batch = features[0].new_zeros(len(features), features[0].shape[0], longest)
    mask = torch.zeros(len(features), longest, dtype=torch.bool)
    for row, feature in enumerate(features):
        batch[row, :, : feature.shape[1]] = feature
        mask[row, : feature.shape[1]] = True
    return batch, mask


def _pad_ids(rows: Sequence[Sequence[int]], value: int, side: Literal["left", "right"]) -> torch.Tensor:
    batch = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.long)
    for row, ids in enumerate(rows):
        start = batch.shape[1] - len(ids) if side == "left" else 0
        batch[row, start : start + len(ids)] = torch.as_tensor(ids, dtype=torch.long)
    return batch
