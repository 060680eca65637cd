from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.report.build import build_report

    build_report(
        layout.database(),
        Path(snakemake.output[0]).parent,
        audio=config.report.audio,
        published=config.report.published,
        threads=snakemake.threads,
    )
