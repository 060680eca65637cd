from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.pretraining.encoder import EncoderRecipe, pretrain_encoder

    out = Path(snakemake.output[0]).parent
    pretrain_encoder(Path(snakemake.input[0]).parent, out, snakemake.output.log, EncoderRecipe(seed=config.seed))
