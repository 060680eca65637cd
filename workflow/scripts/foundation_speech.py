from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.config.languages import read_languages
    from mlcslm.pretraining.speech_pool import write_speech_pool

    write_speech_pool(
        Path(snakemake.output[0]).parent,
        read_languages(config.languages),
        hours=snakemake.params.hours,
        seed=snakemake.params.seed,
        workers=snakemake.threads,
    )
