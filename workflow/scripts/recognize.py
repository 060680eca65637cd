from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, _):
    from mlcslm.config.languages import read_languages
    from mlcslm.recognition.split import recognize_split

    name = snakemake.wildcards.recognizer
    recognize_split(
        config.recognizers[name],
        Path(snakemake.input.manifest),
        Path(snakemake.output[0]),
        read_languages(config.languages),
        name=name,
        groups=snakemake.params.groups,
    )
