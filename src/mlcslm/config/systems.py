"""External systems in the configuration: hypotheses made elsewhere, scored beside the run's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mlcslm.config.base import Section

# One folder below results/systems; without a slash it cannot be mistaken for `<checkpoint>/<decoding>`.
SystemName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
ScoredSplit = Literal["dev", "test"]
FileFormat = Literal[
    "auto",
    "kaldi",
    "stm",
    "ctm",
    "seglst",
    "nemo",
    "rttm",
    # What other tools write, as `mlcslm.formats.foreign.TITLES` names it.
    "json",
    "moss",
    "srt",
    "vtt",
    "textgrid",
    "elan",
    "audacity",
    "trn",
    "table",
]
ProtocolName = Literal["mlcslm-2025", "mlcslm-2025+normalised-hypothesis", "whisper-norm"]


class SystemConfig(Section):
    """Hypotheses of a system run elsewhere (docs/submissions.md)."""

    files: dict[ScoredSplit, str | tuple[str, ...]] = Field(
        min_length=1, description="its files or folders; transcripts and turns may be in separate ones"
    )
    format: FileFormat = Field("auto", description="file format; auto: detected from name and content")
    track: Literal[1, 2] | None = Field(
        None, description="1: WER/CER of reference utterances, 2: tcpWER/tcpCER and DER; none: inferred from the ids"
    )
    protocols: tuple[ProtocolName, ...] = Field((), description="protocols to score under besides `scoring.protocol`")
    skip_unknown: bool = Field(False, description="skip hypotheses without a reference instead of stopping")
    method: str = Field("", description="label in the results")
