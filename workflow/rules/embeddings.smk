# A corpus is listed once: with its folder as an input, a file beside it would train every embedding again.
rule speaker_corpus:
    output:
        layout.root / "speakers" / "{corpus}.parquet",
    log:
        layout.root / "logs" / "speaker_corpus" / "{corpus}.log",
    benchmark:
        layout.root / "benchmarks" / "speaker_corpus" / "{corpus}.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    params:
        corpus=lambda wildcards: preset.speaker_corpora[wildcards.corpus].model_dump(mode="json", exclude={"source"}),
        skip_faulty=preset.corpus.skip_faulty,
    script:
        "../scripts/speaker_corpus.py"


rule train_embedding:
    input:
        manifest=layout.manifest("train"),
        held_out=layout.manifest("dev"),
        corpora=lambda wildcards: expand(
            rules.speaker_corpus.output[0], corpus=preset.embeddings[wildcards.embedding].corpora
        ),
    output:
        weights=layout.root / "embeddings" / "{embedding}" / "model.safetensors",
        card=layout.root / "embeddings" / "{embedding}" / "model.json",
    log:
        layout.root / "logs" / "train_embedding" / "{embedding}.log",
    benchmark:
        layout.root / "benchmarks" / "train_embedding" / "{embedding}.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.training_threads
    params:
        embedding=lambda wildcards: preset.embeddings[wildcards.embedding].model_dump(
            mode="json", exclude={"batch_size": True, "training": {"save_steps"}}
        ),
        augmentation=preset.augmentation.model_dump(mode="json"),
        seed=preset.seed,
    script:
        "../scripts/train_embedding.py"
