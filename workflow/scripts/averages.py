from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.results.averages import write_averages

    csv, markdown = Path(snakemake.output.csv), Path(snakemake.output.markdown)
    write_averages(layout.database(), snakemake.params.measure, csv, markdown)
