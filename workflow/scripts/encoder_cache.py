from pathlib import Path

from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.config.languages import read_languages
    from mlcslm.corpus.augmentation import make_augmenter
    from mlcslm.model.distortions import make_distortions
    from mlcslm.model.encoder_cache import Adapted, write_encoder_cache

    split = snakemake.wildcards.split
    training = split == "train"
    write_encoder_cache(
        Path(snakemake.output[0]).parent,
        snakemake.input.manifest,
        encoder=config.models.encoder,
        adapted=Adapted(
            checkpoint=Path(snakemake.input.checkpoint[0]).parent,
            languages=read_languages(config.languages),
            language_model=config.models.language_model,
        )
        if snakemake.input.checkpoint
        else None,
        encoder_window=config.models.encoder_window,
        distortions=make_distortions(
            config.augmentation,
            make_augmenter(config.augmentation, layout.noise("noise"), layout.noise("room_responses")),
        )
        if training
        else None,
        boundaries_s=config.augmentation.boundaries_s if training else 0.0,
        variants=config.augmentation.cached_variants if training else 1,
        seed=config.seed,
        # Half precision is enough to learn from; what is decoded stays exactly what the encoder gives.
        dtype="float16" if training else "float32",
    )
