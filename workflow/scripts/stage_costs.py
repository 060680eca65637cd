from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.plan.costs import write_stage_costs

    write_stage_costs(layout, snakemake.params.stages, Path(snakemake.output[0]))
