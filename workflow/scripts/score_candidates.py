from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.scoring.oracle import write_oracles

    write_oracles(
        Path(snakemake.input.manifest),
        Path(snakemake.input.hypotheses),
        Path(snakemake.output[0]),
        system=f"{snakemake.wildcards.checkpoint}/{snakemake.wildcards.decoding}",
        split=snakemake.wildcards.split,
        protocol=config.scoring.protocol,
        normalise_hypothesis=config.scoring.normalise_hypothesis,
        languages=Path(config.languages),
    )
