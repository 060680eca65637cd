from pathlib import Path

from mlcslm.workflow import job

with job(snakemake) as (config, layout):
    from mlcslm.evaluation.handing_in import hand_in

    out = Path(snakemake.output.submission)
    hand_in(
        config,
        layout,
        snakemake.wildcards.system,
        snakemake.params.split,
        snakemake.params.track,
        out,
        jobs=snakemake.threads,
    )
