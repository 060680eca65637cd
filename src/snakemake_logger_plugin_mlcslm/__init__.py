"""Snakemake's plugin `--logger mlcslm` (in profiles/default): Snakemake finds it by this package's name."""

from mlcslm.status.console import Console as LogHandler

__all__ = ["LogHandler"]
