from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.config.languages import read_languages
    from mlcslm.decoding.engine_environment import read_engine
    from mlcslm.decoding.generation import DecodingPaths, Noise, decode_split
    from mlcslm.training.reasoning_data import decoding_augmenter

    augmenter = None
    if snakemake.params.snr_db is not None:
        augmenter = decoding_augmenter(config, layout.noise("noise"), layout.noise("room_responses"))
    decode_split(
        DecodingPaths(
            checkpoint=Path(snakemake.input.checkpoint).parent,
            manifest=Path(snakemake.input.manifest),
            out=Path(snakemake.output[0]),
        ),
        config.decodings[snakemake.wildcards.get("decoding", config.reasoning.decoding)],
        read_languages(config.languages),
        encoder=config.models.encoder,
        language_model=config.models.language_model,
        compiled=config.resources.compile_decoding,
        groups=snakemake.params.groups,
        unseen=True,
        engine=read_engine(Path(snakemake.input.engine[0])) if snakemake.input.engine else None,
        noise=Noise(augmenter, config.seed) if augmenter else None,
    )
