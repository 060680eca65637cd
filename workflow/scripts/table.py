from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.results.database import collect_database
    from mlcslm.results.tables import write_table

    database = collect_database(config, layout)
    write_table(database, snakemake.wildcards.table, Path(snakemake.output.csv), Path(snakemake.output.markdown))
