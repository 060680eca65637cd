import sys
from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.config.languages import read_languages
    from mlcslm.training.reasoning_data import write_reasoning_data

    errors = write_reasoning_data(
        Path(snakemake.input.manifest),
        [Path(file) for file in snakemake.input.hypotheses],
        Path(snakemake.output[0]),
        read_languages(config.languages),
        max_details=config.reasoning.max_details,
    )
    print(f"reasoning data: {errors}", file=sys.stderr)
