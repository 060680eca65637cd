from pathlib import Path

from mlcslm.workflow import job

with job(snakemake) as (config, layout):
    from mlcslm.foundation.speech_pool import write_speech_pool
    from mlcslm.languages import read_languages

    write_speech_pool(
        Path(snakemake.output[0]).parent,
        read_languages(config.languages),
        hours=snakemake.params.hours,
        seed=snakemake.params.seed,
        workers=snakemake.threads,
    )
