from pathlib import Path

from mlcslm.workflow import SPLITS, job

with job(snakemake) as (config, layout):
    from mlcslm.results.database import SystemRow, build_database
    from mlcslm.results.tables import write_table

    systems, diarizers = layout.on_disk(), layout.diarization_on_disk()
    logs = (layout.checkpoint(name) / "training_log.parquet" for name in config.stages)
    database = layout.root / "results.duckdb"
    build_database(
        database,
        preset=layout.preset,
        config=config.model_dump(mode="json"),
        manifests={split: layout.manifest(split) for split in SPLITS},
        hypotheses=[layout.hypotheses(*system) for system in systems],
        scores=[layout.scores(*system) for system in systems],
        reflections=[layout.reflections(*system) for system in systems],
        training_logs=[log for log in logs if log.exists()],
        diarization=[layout.diarization_counts(*diarizer) for diarizer in diarizers],
        segments=[layout.diarization_hypotheses(*diarizer) for diarizer in diarizers],
        tables=Path(config.tables),
        languages=Path(config.languages),
        systems=[SystemRow.from_config(config, *names) for names in dict.fromkeys(system[:2] for system in systems)],
    )
    write_table(database, snakemake.wildcards.table, Path(snakemake.output.csv), Path(snakemake.output.markdown))
