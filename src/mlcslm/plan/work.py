"""A run's GPU hours by rule: stages, decodings, encoder outputs, embeddings, diarization."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mlcslm.config.diarization import EmbeddingConfig
from mlcslm.config.schema import Split
from mlcslm.config.stages import transcripts_in_prompt
from mlcslm.plan.fake_model import stage_bytes
from mlcslm.plan.generation import Generating
from mlcslm.plan.jobs import Needed
from mlcslm.plan.micro_batch import Meter
from mlcslm.plan.stages import StagePlan
from mlcslm.plan.tally import Tally
from mlcslm.plan.throughput import Throughput
from mlcslm.plan.workload import SplitSize
from mlcslm.speaker_embedding.networks import build_network
from mlcslm.text.templates import Template
from mlcslm.workflow.layout import Layout

SEGMENT_S = 4.0
"""Mean length of a diarizer's segments when they are limited to eight seconds."""


@dataclass(frozen=True)
class DecodingPlan:
    """A checkpoint's decoding: bytes by part for the longest utterances; utterances per second on one GPU.

    cached: encoder outputs are read from the cache instead of computed.
    """

    checkpoint: str
    decoding: str
    cached: bool
    memory: Mapping[str, int]
    utterances_per_second: float

    @property
    def peak_bytes(self) -> int:
        """Total memory."""
        return sum(self.memory.values())


class Works:
    """The cost of everything besides training."""

    def __init__(self, layout: Layout, meter: Meter, throughput: Throughput, splits: Mapping[Split, SplitSize]) -> None:
        self.layout = layout
        self.config = layout.config
        self.meter = meter
        self.throughput = throughput
        self.gpu = throughput.gpus[throughput.gpu]
        self.splits: dict[str, SplitSize] = dict(splits.items())
        self._plans: dict[tuple[Template, int, str, bool], tuple[dict[str, int], float]] = {}

    def decoding(self, checkpoint: str, name: str, *, cached: bool | None = None) -> DecodingPlan:
        """The plan of decoding `name` of `checkpoint`; cached: by default as in the workflow's rule `decode`."""
        if cached is None:
            cached = self.layout.uses_cache(checkpoint, "dev")
        stage, decoding = self.config.stages[checkpoint], self.config.decodings[name]
        key = (stage.template, transcripts_in_prompt(stage, context=decoding.context != "none"), name, cached)
        if key not in self._plans:
            self._plans[key] = self._decoding(*key)
        return DecodingPlan(checkpoint, name, cached, *self._plans[key])

    def _decoding(self, template: Template, lines: int, name: str, cached: bool) -> tuple[dict[str, int], float]:
        decoding, text, dev = self.config.decodings[name], self.throughput.text, self.splits["dev"]

        def generating(seconds: float, shared: bool = True) -> Generating:
            prompt = text.prompt[template] + round(lines * text.tokens_a_second * seconds)
            return Generating(self.meter, (), decoding.batch_size, decoding.rows, prompt, shared, cached)

        # Beams share their prompt's keys and values; samples have copies, though it is read once.
        shared = decoding.beams == decoding.rows
        cache, rest = generating(dev.max_duration_s, shared).memory(dev.max_duration_s, decoding.max_new_tokens)
        memory = {"weights": round(self._weights()), "keys and values": round(cache), "activations": round(rest)}
        # Utterances leave a batch as they end: on average it lasts half as long again as a mean answer.
        answer = min(round(1.5 * text.answer_tokens(template, dev.mean_s)), decoding.max_new_tokens)
        work = generating(dev.mean_s).work(dev.mean_s, answer, self.gpu)
        # A thread reads the next batch meanwhile.
        reading = 0.0 if cached else self.throughput.host.reading_s(decoding.batch_size * dev.mean_s)
        return memory, decoding.batch_size / max(work.seconds, reading)

    def _weights(self) -> float:
        return float(stage_bytes(self.meter.sizes, ()))

    def gpu_hours(self, stages: Mapping[str, StagePlan], needed: Needed) -> dict[str, float]:
        """GPU hours of all jobs, by rule."""
        hours: defaultdict[str, float] = defaultdict(float)
        hours["train"] = sum(stages[name].gpu_hours for name in needed.checkpoints)
        for checkpoint, decoding, split in needed.systems:
            if checkpoint not in self.config.stages:
                continue  # a ready recogniser: nothing is known about its cost
            hours["decode"] += self._decoding_hours(checkpoint, decoding, self.splits[split].utterances)
        for checkpoint in needed.reasoning:
            share = 1 / len(needed.reasoning)  # each of several decodes the sessions that it has not seen
            utterances = share * self.splits["train"].utterances
            decoding = self.config.reasoning.decoding
            hours["decode_training_set"] += self._decoding_hours(checkpoint, decoding, utterances, cached=False)
        for checkpoint, decoding in needed.folds:
            utterances = self.splits["train"].utterances / self.config.fold_count(checkpoint)
            hours["decode_fold"] += self._decoding_hours(checkpoint, decoding, utterances, cached=False)
        for _, split in needed.cached:
            variants = self.config.augmentation.cached_variants if split == "train" else 1
            hours["encoder_cache"] += variants * self._encoder_hours(self.splits[split].hours)
        for diarizer, split in needed.diarized:
            checkpoint, decoding = self.config.transcriber(diarizer)
            size = self.splits[split]
            answers = self.config.diarizers[diarizer].stretch_s is not None  # one job does both
            hours["answer_sessions" if answers else "diarize"] += size.recordings_h * self.gpu.shares.diarization
            segments = size.hours * 3600 / SEGMENT_S
            if checkpoint in self.config.stages:
                rule = "answer_sessions" if answers else "transcribe_segments"
                hours[rule] += self._decoding_hours(checkpoint, decoding, segments, cached=False)
        for embedding in needed.embeddings:
            hours["train_embedding"] += self._embedding_hours(self.config.embeddings[embedding])
        return {rule: value for rule, value in hours.items() if value}

    def _embedding_hours(self, embedding: EmbeddingConfig) -> float:
        """Hours of training a speaker embedding: per step, a forward pass and a backward pass of twice its cost."""
        training = embedding.training
        assert training is not None
        with torch.device("meta"), torch.no_grad(), Tally() as tally:
            network = build_network(embedding.network, embedding.size).eval()
            network(torch.empty(1, round(100 * training.crop_s), 80))
        flops = 3.0 * tally.flops * training.batch_size * training.steps
        return self.gpu.seconds(flops, self.gpu.shares.embeddings) / 3600

    def _decoding_hours(
        self, checkpoint: str, decoding: str, utterances: float, *, cached: bool | None = None
    ) -> float:
        return utterances / self.decoding(checkpoint, decoding, cached=cached).utterances_per_second / 3600

    def _encoder_hours(self, hours: float) -> float:
        """GPU hours of encoding `hours` hours of speech."""
        audio = self.meter.shapes.encoder
        weights, width = self.meter.sizes["encoder"], audio.d_model
        mean = 50 * self.splits["dev"].mean_s  # frames per utterance, which attend to each other
        flops = 50 * (2.0 * weights + 4.0 * audio.encoder_layers * width * mean)
        # The job reads a batch, then encodes it.
        each = self.gpu.seconds(3600 * flops, self.gpu.shares.encoder) + self.throughput.host.reading_s(3600)
        return hours * each / 3600
