from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.evaluation.submission import write_submission

    out = Path(snakemake.output.submission)
    write_submission(
        config,
        layout,
        snakemake.wildcards.system,
        snakemake.params.split,
        snakemake.params.track,
        out,
        jobs=snakemake.threads,
    )
