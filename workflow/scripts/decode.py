from pathlib import Path

from mlcslm.workflow import job

with job(snakemake) as (config, layout):
    from mlcslm.decoding.generation import DecodingPaths, decode_split
    from mlcslm.languages import read_languages

    paths = DecodingPaths(
        checkpoint=Path(snakemake.input.checkpoint).parent,
        manifest=Path(snakemake.input.manifest),
        out=Path(snakemake.output[0]),
        cache=Path(snakemake.input.cache[0]).parent if snakemake.input.cache else None,
    )
    decode_split(
        paths,
        config.decodings[snakemake.wildcards.decoding],
        read_languages(config.languages),
        encoder=config.models.encoder,
        language_model=config.models.language_model,
        groups=snakemake.params.groups,
    )
