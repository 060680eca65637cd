from mlcslm.workflow.job import job

with job(snakemake) as (config, layout):
    from mlcslm.corpus.augmentation import make_augmenter
    from mlcslm.model.encoder_cache import write_encoder_cache

    split = snakemake.wildcards.split
    training = split == "train"
    write_encoder_cache(
        layout.cache(split),
        snakemake.input[0],
        encoder=config.models.encoder,
        encoder_window=config.models.encoder_window,
        augmenter=make_augmenter(config.augmentation, layout.noise("noise"), layout.noise("room_responses"))
        if training
        else None,
        variants=config.augmentation.cached_variants if training else 1,
        seed=config.seed,
        # Half precision is enough to learn from; what is decoded stays exactly what the encoder gives.
        dtype="float16" if training else "float32",
    )
