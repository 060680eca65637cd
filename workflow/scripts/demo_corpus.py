from pathlib import Path

from mlcslm.workflow import job

with job(snakemake) as (config, layout):
    from mlcslm.corpus.demo.conversations import write_demo_corpus
    from mlcslm.languages import read_languages

    write_demo_corpus(
        Path(snakemake.output[0]).parent,
        config.corpus.demo,
        read_languages(config.languages),
        seed=config.seed,
        workers=snakemake.threads,
    )
