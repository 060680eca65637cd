# A corpus is listed once: with its folder as an input, any new file in it would retrain every embedding.
rule speaker_corpus:
    output:
        layout.speaker_corpus("{corpus}"),
    log:
        layout.log("speaker_corpus", "{corpus}"),
    benchmark:
        layout.benchmark("speaker_corpus", "{corpus}")
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
        weights=layout.embedding_weights("{embedding}"),
        card=layout.embedding_card("{embedding}"),
    log:
        layout.log("train_embedding", "{embedding}"),
    benchmark:
        layout.benchmark("train_embedding", "{embedding}")
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.training_threads
    params:
        embedding=lambda wildcards: preset.embeddings[wildcards.embedding].model_dump(
            mode="json", exclude={"batch_size": True, "training": {"save_steps"}}
        ),
        augmentation=preset.augmentation.of_sound(),
        seed=preset.seed,
    script:
        "../scripts/train_embedding.py"
