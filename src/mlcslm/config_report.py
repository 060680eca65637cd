"""The report in the configuration."""

from __future__ import annotations

from pydantic import Field

from mlcslm.config_stages import Section


class ReportConfig(Section):
    """What `<results>/report` holds beside its pages."""

    audio: bool = Field(
        True, description="lossless copies of the sessions' audio, to listen to utterances: about 70 MB an hour"
    )
    threads: int = Field(1, ge=1, description="CPU threads that copy audio")
