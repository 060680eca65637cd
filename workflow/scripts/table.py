from pathlib import Path

from mlcslm.workflow import job

with job(snakemake) as (config, layout):
    from mlcslm.results.collecting import collect_database
    from mlcslm.results.tables import write_table

    database = collect_database(config, layout)
    write_table(database, snakemake.wildcards.table, Path(snakemake.output.csv), Path(snakemake.output.markdown))
