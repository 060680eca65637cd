"""A speech LLM as a plain causal language model that any engine loads, with its audio side in a folder beside it.

The folder itself: config.json, generation_config.json, model*.safetensors and the tokenizer's files of a language model
without anything of ours; languages.tsv; mlcslm.json (as of any export). In `audio`: audio.safetensors (encoder and
projector, adapters merged), config.json, preprocessor_config.json, and audio.json, written last.

Shapes: L prompt positions, h language model width.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    WhisperConfig,
    WhisperFeatureExtractor,
)

from mlcslm.config.languages import read_languages
from mlcslm.errors import FaultyInput, UserError
from mlcslm.io.files import sha256, write_json
from mlcslm.io.metadata import changed_files, read_metadata
from mlcslm.model.checkpoint_file import CheckpointInfo
from mlcslm.model.configuration import SpeechLLMConfig
from mlcslm.model.encoder import SpeechEncoder
from mlcslm.model.exported import (
    LANGUAGES_FILE,
    MAX_FILE_SIZE,
    ExportInfo,
    clean_config,
    describe_export,
    drop_adapters,
    quiet_transformers,
    read_export,
)
from mlcslm.model.log_mel import EncoderWindow
from mlcslm.model.lora import merge_lora
from mlcslm.model.processor import SpeechProcessor
from mlcslm.model.projector import Projector
from mlcslm.model.speech_llm import SpeechLLM
from mlcslm.text.templates import Answer

AUDIO_FOLDER, AUDIO_FILE, AUDIO_WEIGHTS = "audio", "audio.json", "audio.safetensors"
FORMAT_VERSION = 1
_REMEDY = "Export the checkpoint again."


@dataclass(frozen=True)
class AudioInfo:
    """Contents of `audio/audio.json`. embedding: name of the language model's token embedding in its weights; files:
    SHA-256 by file name, of this folder."""

    embedding: str
    files: dict[str, str]
    format_version: int = FORMAT_VERSION


def save_merged(
    folder: Path,
    model: SpeechLLM,
    processor: SpeechProcessor,
    checkpoint: CheckpointInfo,
    *,
    languages: str | os.PathLike[str],
    decoding: Mapping[str, object],
) -> ExportInfo:
    """Write `model` (its adapters are merged in place) into the existing `folder`; arguments as of `save_export`.

    Raises UserError for a language model that is not a plain causal one.
    """
    if not model.lora_is_merged:
        merge_lora(model)
    drop_adapters(model)
    plain, embedding = plain_language_model(model)
    audio = folder / AUDIO_FOLDER
    audio.mkdir()
    with quiet_transformers():
        plain.save_pretrained(folder, max_shard_size=MAX_FILE_SIZE)
        processor.tokenizer.save_pretrained(folder)
        processor.features.feature_extractor.save_pretrained(audio)
        model.config.save_pretrained(audio)
    for config in (folder / "config.json", audio / "config.json"):
        clean_config(config)
    sides = {"encoder": model.model.encoder, "projector": model.model.projector}
    weights = {
        f"{side}.{name}": tensor.detach().cpu().contiguous()
        for side, module in sides.items()
        for name, tensor in module.state_dict().items()
    }
    save_file(weights, audio / AUDIO_WEIGHTS)
    (folder / LANGUAGES_FILE).write_bytes(Path(languages).read_bytes())
    files = {path.name: sha256(path) for path in sorted(audio.iterdir())}
    write_json(audio / AUDIO_FILE, asdict(AudioInfo(embedding, files)))
    return describe_export(folder, model, checkpoint, decoding)


def plain_language_model(model: SpeechLLM) -> tuple[PreTrainedModel, str]:
    """The language model as transformers' own class, sharing its weights, and the name of its token embedding.

    Raises UserError if there is no such class for it.
    """
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(model.config.text_config, dtype=model.dtype)
    try:
        plain.base_model.load_state_dict(model.model.language_model.state_dict(), assign=True)
        plain.get_output_embeddings().load_state_dict(model.lm_head.state_dict(), assign=True)
    except RuntimeError as error:
        raise UserError(
            f"{type(plain).__name__}: not a plain causal language model, cannot be merged ({error})."
        ) from None
    plain.tie_weights()
    plain.generation_config = model.generation_config
    embedding = next(name for name, module in plain.named_modules() if module is plain.get_input_embeddings())
    return plain, f"{embedding}.weight"


class SpeechPrompts:
    """The audio side of a merged export: makes prompts that its language model continues, as embeddings.

    info: of the export; processor: its tokenizer, features and templates.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        projector: Projector,
        embedding: torch.Tensor,
        processor: SpeechProcessor,
        info: ExportInfo,
    ) -> None:
        self._encoder = encoder
        self._projector = projector
        self._embedding = embedding
        self.processor = processor
        self.info = info

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], *, device: str = "cpu", dtype: torch.dtype | None = None
    ) -> SpeechPrompts:
        """The audio side of the merged export in `folder`, on `device`; dtype: by default as saved.

        Of the language model's weights only the token embedding is read. Raises UserError if the export is not intact.
        """
        folder = Path(folder)
        audio = folder / AUDIO_FOLDER
        info = read_export(folder)
        if not (audio / AUDIO_FILE).is_file():
            raise UserError(f"{folder}: has no audio side; create one with `mlcslm export --format merged`.")
        side = read_metadata(AudioInfo, audio / AUDIO_FILE, FORMAT_VERSION, _REMEDY)
        if faults := changed_files(audio, side.files):
            raise FaultyInput(f"{audio}: not what was exported; copy or export it again.", faults)
        chosen = dtype or getattr(torch, info.dtype)
        try:
            config = SpeechLLMConfig.from_pretrained(audio)
            hears, writes = cast("WhisperConfig", config.audio_config), cast("PreTrainedConfig", config.text_config)
            encoder = SpeechEncoder(hears)
            projector = Projector(hears.d_model, writes.hidden_size, hidden=config.projector_hidden)
            both = nn.ModuleDict({"encoder": encoder, "projector": projector})
            both.load_state_dict(load_file(audio / AUDIO_WEIGHTS))
            both.to(device, chosen).eval()
            embedding = _tensor(folder, side.embedding).to(device, chosen)
            with quiet_transformers():
                tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
                extractor = WhisperFeatureExtractor.from_pretrained(audio)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise UserError(f"{folder}: cannot be loaded ({error}). {_REMEDY}") from error
        processor = SpeechProcessor(
            tokenizer,
            extractor,
            read_languages(folder / LANGUAGES_FILE),
            encoder_window=cast("EncoderWindow", config.encoder_window),
            max_mel_frames=encoder.max_mel_frames,
        )
        return cls(encoder, projector, embedding, processor, info)

    @torch.inference_mode()
    def __call__(
        self, audio: Sequence[np.ndarray], groups: Sequence[str], contexts: Sequence[Sequence[str]] | None = None
    ) -> list[torch.Tensor]:
        """Prompt embeddings (L, h) of each utterance: mono float audio at 16 kHz, its group, its context, if any."""
        features, mask = self.processor.log_mel(audio)
        device, dtype = self._embedding.device, self._embedding.dtype
        frames, frames_mask = self._encoder(features.to(device, dtype), mask.to(device))
        tokens_BNh, tokens_mask = self._projector(frames, frames_mask)
        prompts = []
        for row, (samples, group) in enumerate(zip(audio, groups, strict=True)):
            ids = torch.tensor(
                self.processor.encode_prompt(
                    group,
                    self.info.template,  # type: ignore[arg-type] # a template's name
                    audio_tokens=self.processor.audio_token_count(len(samples)),
                    context=contexts[row] if contexts is not None else (),
                ),
                device=device,
            )
            is_audio = ids == self.processor.audio_token_id
            # The placeholder has no row of its own in some models: any other does, and is replaced.
            embedded = self._embedding[ids.masked_fill(is_audio, 0)]
            embedded[is_audio] = tokens_BNh[row][tokens_mask[row]].to(dtype)
            prompts.append(embedded)
        return prompts

    def parse(self, ids: Sequence[int]) -> Answer:
        """The answer in what the language model has generated."""
        return self.processor.parse(ids, self.info.template)  # type: ignore[arg-type] # as above


def _tensor(folder: Path, name: str) -> torch.Tensor:
    """A tensor of the language model's weights, which may lie in several files."""
    for path in sorted(folder.glob("model*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if name in file.keys():  # noqa: SIM118 # no mapping
                return file.get_tensor(name)
    raise KeyError(f"no {name} in model*.safetensors")
