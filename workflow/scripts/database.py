from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.results.database import collect_database

    collect_database(config, layout)
