from pathlib import Path

from mlcslm.workflow import job

with job(snakemake) as (config, layout):
    from mlcslm.decoding.grids import missing_decodings
    from mlcslm.languages import read_languages

    of = snakemake.wildcards
    decodings = missing_decodings(layout, of.checkpoint, of.grid, of.split, of.shard, snakemake.params.groups)
    if decodings:
        from mlcslm.decoding.generation import decode_with_all

        decode_with_all(
            Path(snakemake.input.checkpoint).parent,
            Path(snakemake.input.manifest),
            decodings,
            read_languages(config.languages),
            cache=Path(snakemake.input.cache[0]).parent if snakemake.input.cache else None,
            encoder=config.models.encoder,
            language_model=config.models.language_model,
            groups=snakemake.params.groups,
        )
    Path(snakemake.output[0]).touch()
