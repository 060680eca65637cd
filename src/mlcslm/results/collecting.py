"""`results.duckdb` of everything that a results folder holds so far: what a table, or a brought system, renews."""

from __future__ import annotations

from pathlib import Path

from mlcslm.config import Config
from mlcslm.results.brought import BroughtSystem
from mlcslm.results.database import SystemRow, build_database
from mlcslm.workflow import SPLITS, Layout


def collect_database(config: Config, layout: Layout) -> Path:
    """Write the database of what has been measured so far and is part of the configuration, or was brought.

    Returns its path. Raises UserError as `build_database` does.
    """
    systems, diarizers = layout.on_disk(), layout.diarization_on_disk()
    logs = (layout.checkpoint(name) / "training_log.parquet" for name in config.stages)
    database = layout.root / "results.duckdb"
    build_database(
        database,
        preset=layout.preset,
        config=config.model_dump(mode="json"),
        manifests={split: layout.manifest(split) for split in SPLITS if layout.manifest(split).exists()},
        hypotheses=[layout.hypotheses(*system) for system in systems],
        scores=[layout.scores(*system) for system in systems],
        reflections=[layout.reflections(*system) for system in systems],
        training_logs=[log for log in logs if log.exists()],
        diarization=[layout.diarization_counts(*diarizer) for diarizer in diarizers],
        segments=[layout.diarization_hypotheses(*diarizer) for diarizer in diarizers],
        tables=Path(config.tables),
        languages=Path(config.languages),
        systems=[SystemRow.from_config(config, *names) for names in dict.fromkeys(system[:2] for system in systems)],
        brought=[BroughtSystem.read(folder) for folder in layout.brought_on_disk()],
    )
    return database
