rule demo_corpus:
    input:
        languages=preset.languages,
    output:
        layout.root / "corpus" / "corpus.json",
    log:
        layout.root / "logs" / "demo_corpus.log",
    benchmark:
        layout.root / "benchmarks" / "demo_corpus.tsv"
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
        layout.root / "manifests" / "{split}.parquet",
    log:
        layout.root / "logs" / "manifest" / "{split}.log",
    benchmark:
        layout.root / "benchmarks" / "manifest" / "{split}.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    params:
        folder=lambda wildcards: str(layout.corpus(wildcards.split)),
        skip_faulty=preset.corpus.skip_faulty,
        channels=preset.corpus.channels,
    script:
        "../scripts/manifest.py"


rule encoder_cache:
    input:
        rules.manifest.output,
    output:
        layout.root / "features" / "{split}" / "cache.json",
    log:
        layout.root / "logs" / "encoder_cache" / "{split}.log",
    benchmark:
        layout.root / "benchmarks" / "encoder_cache" / "{split}.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        encoder=preset.models.encoder,
        window=preset.models.encoder_window,
        augmentation=lambda wildcards: (
            preset.augmentation.model_dump(mode="json") if wildcards.split == "train" else None
        ),
        seed=preset.seed,
    script:
        "../scripts/encoder_cache.py"
