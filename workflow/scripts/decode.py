from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.decoding.grids import Grid, grid_of

    of = snakemake.wildcards
    names = grid_of(layout, of.checkpoint, of.decoding, of.split)
    grid = Grid(layout, of.checkpoint, of.split, of.shard, names)
    out = Path(snakemake.output[0])
    if not grid.collect(out):
        from mlcslm.config.languages import read_languages
        from mlcslm.decoding.generation import decode_with_all

        decode_with_all(
            Path(snakemake.input.checkpoint).parent,
            Path(snakemake.input.manifest),
            grid.missing(),
            read_languages(config.languages),
            cache=Path(snakemake.input.cache[0]).parent if snakemake.input.cache else None,
            ctc=Path(snakemake.input.ctc[0]).parent if snakemake.input.ctc else None,
            first_passes=tuple(map(Path, snakemake.input.first_passes)),
            encoder=config.models.encoder,
            language_model=config.models.language_model,
            compiled=config.resources.compile_decoding,
            groups=snakemake.params.groups,
            several=len(names) > 1,
            engine=grid.engine(names[0]),
        )
        grid.collect(out)
