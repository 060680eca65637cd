from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.results.averages import write_averages
    from mlcslm.results.database import collect_database

    database = collect_database(config, layout)
    write_averages(database, snakemake.params.measure, Path(snakemake.output.csv), Path(snakemake.output.markdown))
