from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.config.languages import read_languages
    from mlcslm.corpus.demo.conversations import write_demo_corpus

    write_demo_corpus(
        Path(snakemake.output[0]).parent,
        config.corpus.demo,
        read_languages(config.languages),
        seed=config.seed,
        workers=snakemake.threads,
    )
