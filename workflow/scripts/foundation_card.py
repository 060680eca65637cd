from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.pretraining.card import write_card

    encoder, language_model = snakemake.input.encoder, snakemake.input.language_model
    write_card(
        snakemake.output[0],
        encoder=Path(encoder[0]).parent,
        language_model=Path(language_model[0]).parent,
        encoder_log=Path(encoder[1]),
        language_model_log=Path(language_model[1]),
        manifest=Path(snakemake.input.manifest),
        hours=snakemake.params.hours,
        seed=snakemake.params.seed,
    )
