from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, _):
    from mlcslm.scoring.diarization_counts import write_diarization_counts

    write_diarization_counts(
        Path(snakemake.input.manifest),
        Path(snakemake.input.rttm),
        Path(snakemake.input.stm),
        Path(snakemake.input.oracle),
        Path(snakemake.output[0]),
        system=snakemake.wildcards.diarizer,
        split=snakemake.wildcards.split,
        protocol=config.scoring.protocol,
        normalise_hypothesis=config.scoring.normalise_hypothesis,
        languages=Path(config.languages),
        jobs=snakemake.threads,
    )
