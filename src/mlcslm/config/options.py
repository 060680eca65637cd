"""Resources, report and experiment trackers in the configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlcslm.config.base import Section


class ResourcesConfig(Section):
    """How the work is split into jobs, and what each may use."""

    languages_per_shard: int = Field(0, ge=0, description="groups per decoding job; 0: all in one job")
    cache_encoder: bool = Field(True, description="cache encoder outputs on disk while the encoder is frozen")
    data_workers: int = Field(
        0,
        ge=0,
        description="processes that prepare batches, for all GPUs of a machine; 0: the training process does it",
    )
    training_threads: int = Field(1, ge=1, description="CPU threads per training job")
    cpu_precision: Literal["float32", "auto"] = Field(
        "float32",
        description="precision of training on a CPU; auto: matrix products in bfloat16 if the processor has "
        "instructions for it, which is faster, but processors of different kinds then give different weights",
    )
    decoding_threads: int = Field(1, ge=1, description="CPU threads per decoding job")
    compile_decoding: bool = Field(
        False,
        description="on a GPU, compile a whole decoding step once and replay it; compiling takes a minute or more. "
        "Ignored for `context: hypotheses`",
    )


class VllmConfig(Section):
    """vLLM, which runs in an environment of its own: its dependencies exclude this package's."""

    python: str = Field(
        "",
        description="the Python of a virtual environment that has vLLM, such as `/opt/vllm/bin/python`; without one, "
        "envs/vllm.yaml is used, with `--software-deployment-method conda`",
    )


class EnginesConfig(Section):
    """What may run the language model in place of this package's own search (`decodings.<name>.engine`)."""

    vllm: VllmConfig = Field(default_factory=VllmConfig, description="vLLM")


class ReportConfig(Section):
    """What `<results>/report` holds besides its pages, and whether tables show the paper's numbers."""

    audio: bool = Field(
        True, description="include the sessions' audio, losslessly, to listen to utterances: about 70 MB per hour"
    )
    published: bool = Field(
        True, description="show the paper's numbers beside the measured ones, in pages and report; CSV files always do"
    )
    threads: int = Field(1, ge=1, description="CPU threads for copying audio")


Tracker = Literal["tensorboard", "wandb"]


class TrackingConfig(Section):
    """Experiment trackers that training reports to; changing them changes no weight and reruns no job."""

    report_to: tuple[Tracker, ...] = Field(
        (),
        description="tensorboard: files in `<results>/tensorboard`; wandb: Weights & Biases, over the network unless "
        "WANDB_MODE=offline. Each is an extra: pip install 'mlcslm[tensorboard]'",
    )
    project: str = Field("mlcslm", min_length=1, description="Weights & Biases project")
