from pathlib import Path

from mlcslm.workflow import job

with job(snakemake) as (config, layout):
    from mlcslm.foundation.encoder import EncoderRecipe, pretrain_encoder

    out = Path(snakemake.output[0]).parent
    pretrain_encoder(Path(snakemake.input[0]).parent, out, snakemake.output.log, EncoderRecipe(seed=config.seed))
