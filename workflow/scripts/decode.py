from pathlib import Path

from mlcslm.workflow import job

with job(snakemake) as (config, layout):
    from mlcslm.decoding.grids import kept_file
    from mlcslm.decoding.wanted import made_by, rows_to_decode, take_finished

    of, groups = snakemake.wildcards, snakemake.params.groups
    decoding = config.decodings[of.decoding]
    checkpoint, manifest = Path(snakemake.input.checkpoint).parent, Path(snakemake.input.manifest)
    out = Path(snakemake.output[0])
    kept = kept_file(layout, of.checkpoint, of.decoding, of.split, of.shard)
    by = made_by(checkpoint, manifest, decoding)
    if not take_finished(kept, out, by, rows_to_decode(manifest, groups)):
        from mlcslm.decoding.generation import DecodingPaths, decode_split
        from mlcslm.languages import read_languages

        cache = Path(snakemake.input.cache[0]).parent if snakemake.input.cache else None
        decode_split(
            DecodingPaths(checkpoint, manifest, out, cache),
            decoding,
            read_languages(config.languages),
            encoder=config.models.encoder,
            language_model=config.models.language_model,
            groups=groups,
        )
