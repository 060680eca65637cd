"""The speech LLM: Whisper encoder -> projector -> causal language model (paper, section 2.1; SLAM-ASR).

Split as transformers and trl expect: a backbone `model` that returns `last_hidden_state`, and `lm_head`.

Shapes: B utterances, L text positions, M mel bins, F mel frames, T encoder frames, N audio tokens, d encoder width,
h language model width, V vocabulary rows.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    Cache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    WhisperConfig,
)
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from mlcslm.model.configuration import LoraSettings, SpeechLLMConfig
from mlcslm.model.encoder import SpeechEncoder
from mlcslm.model.projector import Projector

IGNORED_LABEL = -100
AUDIO_ARGUMENTS = ("input_features", "input_features_mask", "encoder_frames", "encoder_frames_mask")


class SpeechLLMPreTrainedModel(PreTrainedModel):
    """What the backbone and the whole model share."""

    config_class = SpeechLLMConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ["audio", "text"]  # noqa: RUF012
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012


class SpeechLLMModel(SpeechLLMPreTrainedModel):
    """Encoder, projector and the language model without its head."""

    def __init__(self, config: SpeechLLMConfig) -> None:
        super().__init__(config)
        audio, text = cast("WhisperConfig", config.audio_config), cast("PreTrainedConfig", config.text_config)
        self.encoder = SpeechEncoder(audio)
        self.language_model = AutoModel.from_config(text)
        self.projector = Projector(audio.d_model, text.hidden_size, hidden=config.projector_hidden)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embedding."""
        self.language_model.set_input_embeddings(value)

    def train(self, mode: bool = True) -> SpeechLLMModel:
        """As `nn.Module.train`; a frozen encoder stays in eval mode, so that its cached frames equal live ones."""
        super().train(mode)
        if not self.encoder_is_trainable:
            self.encoder.eval()
        return self

    @property
    def encoder_is_trainable(self) -> bool:
        """Whether any weight of the encoder (including its adapters) is trained."""
        return any(parameter.requires_grad for parameter in self.encoder.parameters())

    def encode_audio(
        self, input_features: torch.Tensor, input_features_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder frames (B, T, d) and their mask (B, T), to cache or use, from log-mel (B, M, F) and mask (B, F)."""
        if input_features_mask is None:
            input_features_mask = torch.ones_like(input_features[:, 0], dtype=torch.bool)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.encoder_is_trainable):
            return self.encoder(input_features, input_features_mask)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        encoder_frames: torch.Tensor | None = None,
        encoder_frames_mask: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Hidden states (B, L, h). Audio is `input_features` or, if cached, `encoder_frames`, each with its mask.

        Each `<|audio|>` of `input_ids` is replaced by an audio token, in order. Raises ValueError if a row has more
        or fewer placeholders than its audio has tokens.
        """
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if input_features is not None and encoder_frames is None:
            encoder_frames, encoder_frames_mask = self.encode_audio(input_features, input_features_mask)
        if encoder_frames is not None:
            inputs_embeds = self._insert_audio(input_ids, inputs_embeds, encoder_frames, encoder_frames_mask)
        elif _is_prompt(input_ids, past_key_values) and (input_ids == self.config.audio_token_id).any():
            raise ValueError(
                "input_ids have <|audio|> placeholders, but there are neither input_features nor encoder_frames"
            )
        if position_ids is None and attention_mask is not None and attention_mask.ndim == 2:
            position_ids = position_ids_of(attention_mask)[:, -inputs_embeds.shape[1] :]
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )

    def embed_prompts(
        self, input_ids: torch.LongTensor, encoder_frames: torch.Tensor, encoder_frames_mask: torch.Tensor
    ) -> torch.Tensor:
        """What the language model reads of prompts with audio, (B, L, h); arguments and errors as of `forward`."""
        embedded = self.get_input_embeddings()(input_ids)
        return self._insert_audio(input_ids, embedded, encoder_frames, encoder_frames_mask)

    def _insert_audio(
        self,
        input_ids: torch.LongTensor | None,
        inputs_embeds: torch.Tensor,
        encoder_frames: torch.Tensor,
        encoder_frames_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        if input_ids is None:
            raise ValueError("audio needs input_ids, whose <|audio|> placeholders it replaces")
        if encoder_frames_mask is None:
            encoder_frames_mask = torch.ones_like(encoder_frames[..., 0], dtype=torch.bool)
        tokens_BNh, mask_BN = self.projector(encoder_frames, encoder_frames_mask.to(torch.bool))
        placeholders_BL = input_ids == self.config.audio_token_id
        found, expected = placeholders_BL.sum(1), mask_BN.sum(1)
        if not torch.equal(found, expected):
            raise ValueError(f"<|audio|> placeholders by row: {found.tolist()}; audio tokens: {expected.tolist()}")
        return inputs_embeds.masked_scatter(
            placeholders_BL.unsqueeze(-1), tokens_BNh[mask_BN].to(inputs_embeds.device, inputs_embeds.dtype)
        )


class SpeechLLM(SpeechLLMPreTrainedModel, GenerationMixin):
    """The speech LLM with its head: computes losses and generates.

    changed_parts: what differs from the foundation models and a checkpoint must store; lora_settings: for adapters to
    add; lora_is_merged: whether adapters were merged into the weights; foundation: source and fingerprint of each
    foundation model; encoder_adapters: fingerprint of the encoder's adapters as loaded, "" if it has none.
    """

    accepts_loss_kwargs = True  # makes transformers.Trainer pass num_items_in_batch

    def __init__(self, config: SpeechLLMConfig) -> None:
        super().__init__(config)
        self.model = SpeechLLMModel(config)
        text = cast("PreTrainedConfig", config.text_config)
        with torch.device("meta"):
            has_bias = getattr(_head_of(text), "bias", None) is not None
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=has_bias)
        self.changed_parts: set[str] = {"projector"}
        self.lora_settings = LoraSettings()
        self.lora_is_merged = False
        self.foundation: dict[str, dict[str, str]] = {}
        self.encoder_adapters = ""
        self._tied_weights_keys = {"lm_head.weight": _embedding_name(self)}
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embedding."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embedding."""
        self.model.set_input_embeddings(value)

    def encode_audio(
        self, input_features: torch.Tensor, input_features_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Encoder frames (B, T, d) and their mask (B, T): see `SpeechLLMModel.encode_audio`."""
        return self.model.encode_audio(input_features, input_features_mask)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        encoder_frames: torch.Tensor | None = None,
        encoder_frames_mask: torch.Tensor | None = None,
        labels: torch.LongTensor | None = None,
        label_weights: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits, or with `labels` the loss and no logits: B x L x V logits would not fit at the paper's size.

        labels: (B, L), -100 where nothing is predicted. label_weights: (B, L), 1 by default. The loss is the weighted
        mean over the labelled positions, or their weighted sum divided by `num_items_in_batch` if given (the sum of
        weights of a whole optimiser step). logits_to_keep: how many of the last positions (0: all).
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            input_features=input_features,
            input_features_mask=input_features_mask,
            encoder_frames=encoder_frames,
            encoder_frames_mask=encoder_frames_mask,
            use_cache=use_cache,
            **kwargs,
        )
        hidden_BLh, loss, logits = outputs.last_hidden_state, None, None
        if labels is not None:
            losses = self.token_losses(hidden_BLh, labels)
            weights = torch.ones_like(losses)
            if label_weights is not None:
                weights = label_weights[:, 1:].to(losses)[(labels[:, 1:] != IGNORED_LABEL).to(losses.device)]
            loss = (weights * losses).sum() / (weights.sum() if num_items_in_batch is None else num_items_in_batch)
        else:
            kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
            logits = self.compute_logits(hidden_BLh[:, kept])
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def token_losses(self, hidden_BLh: torch.Tensor, labels_BL: torch.LongTensor) -> torch.Tensor:
        """Cross-entropy (float32) of each labelled position, in the order of `labels_BL[:, 1:] != -100`."""
        targets = labels_BL[:, 1:].to(hidden_BLh.device)
        labelled = targets != IGNORED_LABEL
        logits = self.compute_logits(hidden_BLh[:, :-1][labelled])
        return nn.functional.cross_entropy(logits.float(), targets[labelled], reduction="none")

    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (…, V) of hidden states (…, h), scaled and capped as the language model's own head does."""
        config = self.config.text_config
        logits = self.lm_head(hidden.to(self.lm_head.weight.dtype))
        if (scale := getattr(config, "logit_scale", None)) is not None:  # Cohere
            logits = logits * scale
        if (divisor := getattr(config, "logits_scaling", None)) is not None:  # Granite
            logits = logits / divisor
        if (cap := getattr(config, "final_logit_softcapping", None)) is not None:  # Gemma
            logits = torch.tanh(logits / cap) * cap
        return logits

    @torch.no_grad()
    def generate(
        self,
        inputs: torch.Tensor | None = None,
        *args: Any,
        input_features: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As `GenerationMixin.generate`; each utterance is encoded once, however many beams or samples it has."""
        if input_features is not None:
            frames, mask = self.encode_audio(input_features, input_features_mask)
            kwargs |= {"encoder_frames": frames, "encoder_frames_mask": mask}
        return super().generate(inputs, *args, **kwargs)  # type: ignore[misc] # GenerationMixin's self type is private

    def prepare_inputs_for_generation(
        self, input_ids: torch.LongTensor, *args: Any, is_first_iteration: bool | None = False, **kwargs: Any
    ) -> dict[str, Any]:
        """As `GenerationMixin`'s; the audio is read once, with the prompt, and dropped afterwards."""
        inputs = super().prepare_inputs_for_generation(  # type: ignore[misc] # as in `generate`
            input_ids, *args, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration and kwargs.get("use_cache", True):
            for name in AUDIO_ARGUMENTS:
                inputs.pop(name, None)
        return inputs


def position_ids_of(attention_mask_BL: torch.Tensor) -> torch.Tensor:
    """Positions (B, L) counted from each row's first true token, so that left padding changes nothing."""
    return (attention_mask_BL.long().cumsum(-1) - 1).clamp(min=0)


def _is_prompt(input_ids: torch.Tensor | None, past_key_values: Cache | None) -> bool:
    return input_ids is not None and (past_key_values is None or past_key_values.get_seq_length() == 0)


def _head_of(text_config: Any) -> nn.Module:
    return AutoModelForCausalLM.from_config(text_config).get_output_embeddings()


def _embedding_name(model: SpeechLLM) -> str:
    embedding = model.get_input_embeddings()
    return next(f"{name}.weight" for name, module in model.named_modules() if module is embedding)


AutoConfig.register(SpeechLLMConfig.model_type, SpeechLLMConfig, exist_ok=True)
AutoModel.register(SpeechLLMConfig, SpeechLLMModel, exist_ok=True)
AutoModelForCausalLM.register(SpeechLLMConfig, SpeechLLM, exist_ok=True)
