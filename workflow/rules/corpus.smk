rule demo_corpus:
    input:
        languages=preset.languages,
    output:
        layout.demo_corpus(),
    log:
        layout.log("demo_corpus"),
    benchmark:
        layout.benchmark("demo_corpus")
    conda:
        "../../envs/mlcslm.yaml"
    threads: 2
    params:
        size=preset.corpus.demo.model_dump(mode="json"),
        seed=preset.seed,
    script:
        "../scripts/demo_corpus.py"


rule manifest:
    input:
        corpus=lambda wildcards: layout.corpus_marker(wildcards.split),
        languages=preset.languages,
    output:
        layout.manifest("{split}"),
        statistics=layout.corpus_statistics("{split}"),
    log:
        layout.log("manifest", "{split}"),
    benchmark:
        layout.benchmark("manifest", "{split}")
    conda:
        "../../envs/mlcslm.yaml"
    params:
        folder=lambda wildcards: str(layout.corpus(wildcards.split)),
        language=preset.corpus.language,
        skip_faulty=preset.corpus.skip_faulty,
        channels=preset.corpus.channels,
    script:
        "../scripts/manifest.py"


rule training_manifest:
    input:
        manifest=layout.manifest("train"),
    output:
        layout.manifest("train+turns"),
    log:
        layout.log("training_manifest"),
    conda:
        "../../envs/mlcslm.yaml"
    params:
        longest_s=preset.corpus.turns_s,
    script:
        "../scripts/training_manifest.py"


rule encoder_cache:
    input:
        manifest=lambda wildcards: layout.cached_manifest(wildcards.split),
        checkpoint=lambda wildcards: layout.adapted_encoder_file(wildcards.encoder),
    output:
        layout.cache_card("{encoder}", "{split}"),
    log:
        layout.log("encoder_cache", "{encoder}", "{split}"),
    benchmark:
        layout.benchmark("encoder_cache", "{encoder}", "{split}")
    # The next stage of the longest chain may wait for it.
    priority: 10
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        encoder=preset.models.encoder,
        window=preset.models.encoder_window,
        augmentation=lambda wildcards: (preset.augmentation.of_sound() if wildcards.split == "train" else None),
        seed=preset.seed,
    script:
        "../scripts/encoder_cache.py"
