rule train_embedding:
    input:
        manifest=layout.manifest("train"),
        held_out=layout.manifest("dev"),
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
