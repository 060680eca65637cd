from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, _):
    from mlcslm.training.ctc import train_ctc_head

    fold = snakemake.wildcards.get("fold")
    train_ctc_head(
        Path(snakemake.output[0]).parent,
        Path(snakemake.input.manifest),
        Path(snakemake.input.cache).parent,
        config.ctc,
        seed=config.seed,
        fold=tuple(map(int, fold.split("-of-"))) if fold else None,
    )
