from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.results.tables import write_table

    csv, markdown = Path(snakemake.output.csv), Path(snakemake.output.markdown)
    write_table(layout.database(), snakemake.wildcards.table, csv, markdown, published=config.report.published)
