"""Decodings in the configuration: the search for an answer and its limits."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from mlcslm.config.base import ExtendedSection, Rate, Section


class ConsensusConfig(Section):
    """The answers that `method: consensus` chooses from, and how much each counts in the choice."""

    candidates: int = Field(8, ge=1, description="answers to each utterance that one is chosen from")
    source: Literal["samples", "beams"] = Field(
        "samples",
        description="where they come from: independent samples at the decoding's `temperature`, or the best of its "
        "`beams`",
    )
    greedy: bool = Field(
        False, description="the greedy answer is the first of the candidates; of equally good ones the first wins"
    )
    weights: Literal["uniform", "probability", "ctc"] = Field(
        "uniform",
        description="`uniform`: each candidate counts once; `probability`: each distinct one counts with its "
        "probability, renormalised over the candidates; `ctc`: with the probability that a CTC head on the encoder "
        "gives its letters, likewise",
    )


class CtcConfig(ExtendedSection):
    """How CTC heads are trained: one per encoder, and for training with `first_pass: ctc` one per fold besides."""

    off: ClassVar[frozenset[str]] = frozenset({"folds"})

    steps: int = Field(300, ge=1, description="optimiser steps")
    batch_size: int = Field(64, ge=1, description="utterances per step")
    learning_rate: Rate = Field(1e-2, description="peak learning rate; it falls to 0 linearly")
    folds: int = Field(
        5,
        ge=2,
        description="for stages with `first_pass`: parts of the training set, by session, each heard by a head that is "
        "trained on the others",
    )


class DecodingConfig(ExtendedSection):
    """How a checkpoint is decoded (paper, section 4.2)."""

    off: ClassVar[frozenset[str]] = frozenset({"consensus", "engine"})

    method: Literal["greedy", "multinomial", "beam", "beam+sampling", "consensus"] = Field(
        "greedy", description="search method; `consensus` takes the answer closest to all others (docs/decoding.md)"
    )
    consensus: ConsensusConfig | None = Field(None, description="what `method: consensus` chooses from")
    beams: int = Field(1, ge=1, description="beam size")
    max_new_tokens: int = Field(150, ge=1, description="maximum length of an answer, in tokens")
    temperature: float = Field(1.0, gt=0, description="sampling temperature")
    seed: int = Field(0, ge=0, description="sampling seed; each utterance has a random stream of its own")
    batch_size: int = Field(
        32, ge=1, description="utterances per batch (each takes `beams` rows, or as many as it has samples)"
    )
    engine: Literal["own", "vllm"] = Field(
        "own",
        description="what runs the language model: this package's search, or vLLM in an environment of its own "
        "(docs/serving.md), for methods `greedy` and `multinomial`",
    )
    stop_loops: bool = Field(
        False, description="stop answers that loop; they count as truncated. Off in the paper's settings"
    )
    context: Literal["none", "reference", "hypotheses"] = Field(
        "none",
        description="transcripts of the preceding utterances in the prompt, as many as the stage's `context`: the "
        "references (an upper bound; paper, section 4.1), or the model's own hypotheses, decoded in session order",
    )

    @property
    def rows(self) -> int:
        """Answers to an utterance that are generated side by side: beams, or a consensus's samples."""
        one = self.consensus
        return one.candidates if one is not None and one.source == "samples" else self.beams

    @property
    def needs_ctc_head(self) -> bool:
        """Whether a CTC head on the encoder judges the candidates."""
        return self.consensus is not None and self.consensus.weights == "ctc"

    @model_validator(mode="after")
    def _beams_fit_the_method(self) -> DecodingConfig:
        if (self.method == "consensus") != (self.consensus is not None):
            found = "without" if self.consensus is None else "with"
            raise ValueError(
                f"method {self.method!r} {found} a `consensus` section: method 'consensus' needs one, such as "
                "`consensus: {candidates: 8}`, other methods have none"
            )
        if self.consensus is not None:
            self._check_candidates(self.consensus)
        elif self.method.startswith("beam") != (self.beams > 1):
            raise ValueError(
                f"method {self.method!r} with beams {self.beams}: beam searches need 2 or more, other methods 1"
            )
        return self

    @model_validator(mode="after")
    def _engine_can_do_it(self) -> DecodingConfig:
        if self.engine == "vllm":
            if self.method not in ("greedy", "multinomial"):
                raise ValueError(
                    f"engine 'vllm' with method {self.method!r}: it does greedy and multinomial; use engine 'own'"
                )
            if self.context == "hypotheses":
                raise ValueError("engine 'vllm' with context 'hypotheses', which it cannot wait for; use engine 'own'")
        return self

    def _check_candidates(self, consensus: ConsensusConfig) -> None:
        if consensus.source == "samples":
            if self.beams > 1:
                raise ValueError(f"consensus among samples with beams {self.beams}: use `source: beams`, or beams 1")
            return
        needed = max(2, consensus.candidates - consensus.greedy)
        if self.beams < needed:
            raise ValueError(
                f"consensus among {consensus.candidates} candidates from beams with beams {self.beams}: "
                f"needs {needed} or more"
            )
