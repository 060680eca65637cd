"""Resources in the configuration: how the work is cut into jobs, and what the machine is used for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mlcslm.config_stages import Section


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
        "Not for `context: own`",
    )
