from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, _):
    from mlcslm.training.ctc import train_ctc_head

    number, count = map(int, snakemake.wildcards.fold.split("-of-"))
    train_ctc_head(
        Path(snakemake.output[0]).parent,
        Path(snakemake.input.manifest),
        Path(snakemake.input.cache).parent,
        config.ctc,
        seed=config.seed,
        fold=(number, count),
    )
