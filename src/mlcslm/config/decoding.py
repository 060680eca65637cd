"""Decodings in the configuration: the search for an answer and its limits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mlcslm.config.base import Section


class DecodingConfig(Section):
    """How a checkpoint is decoded (paper, section 4.2)."""

    method: Literal["greedy", "multinomial", "beam", "beam+sampling"] = Field("greedy", description="search method")
    beams: int = Field(1, ge=1, description="beam size")
    max_new_tokens: int = Field(150, ge=1, description="maximum length of an answer, in tokens")
    temperature: float = Field(1.0, gt=0, description="sampling temperature")
    seed: int = Field(0, ge=0, description="sampling seed; each utterance has a random stream of its own")
    batch_size: int = Field(32, ge=1, description="utterances per batch (each takes `beams` rows)")
    stop_loops: bool = Field(
        False, description="stop answers that loop; they count as truncated. Off in the paper's settings"
    )
    context: Literal["none", "reference", "hypotheses"] = Field(
        "none",
        description="transcripts of the preceding utterances in the prompt, as many as the stage's `context`: the "
        "references (an upper bound; paper, section 4.1), or the model's own hypotheses, decoded in session order",
    )

    @model_validator(mode="after")
    def _beams_fit_the_method(self) -> DecodingConfig:
        if self.method.startswith("beam") != (self.beams > 1):
            raise ValueError(
                f"method {self.method!r} with beams {self.beams}: beam searches need 2 or more, other methods 1"
            )
        return self
