"""Resources in the configuration: how the work is cut into jobs, and what the machine is used for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlcslm.config.base import Section


class ResourcesConfig(Section):
    """How the work is cut into jobs."""

    languages_per_shard: int = Field(0, ge=0, description="groups a decoding job takes; 0: all in one job")
    cache_encoder: bool = Field(True, description="keep encoder outputs on disk while the encoder is frozen")
    data_workers: int = Field(0, ge=0, description="processes that prepare batches; 0: in the training process")
    training_threads: int = Field(1, ge=1, description="CPU threads of a training job")
    cpu_precision: Literal["float32", "auto"] = Field(
        "float32",
        description="of training on a CPU; auto: matrix products in bfloat16 where the processor has instructions for "
        "it, which is faster, but then processors of different kinds make different weights",
    )
    decoding_threads: int = Field(1, ge=1, description="CPU threads of a decoding job")
    compile_decoding: bool = Field(
        False,
        description="on a GPU, compile the step of a decoding once and replay it, whole; that takes a minute or more. "
        "Not for `context: hypotheses`",
    )


class ReportConfig(Section):
    """What `<results>/report` holds beside its pages."""

    audio: bool = Field(
        True, description="lossless copies of the sessions' audio, to listen to utterances: about 70 MB an hour"
    )
    threads: int = Field(1, ge=1, description="CPU threads that copy audio")


Tracker = Literal["tensorboard", "wandb"]


class TrackingConfig(Section):
    """Trackers that training reports to as it goes; they change no weight, and no job is made anew for them."""

    report_to: tuple[Tracker, ...] = Field(
        (),
        description="tensorboard: files in `<results>/tensorboard`; wandb: Weights & Biases, over the network unless "
        "WANDB_MODE=offline. Each is an extra of the package: pip install 'mlcslm[tensorboard]'",
    )
    project: str = Field("mlcslm", min_length=1, description="project of the runs at Weights & Biases")
