# The demo's foundation models, shipped in resources/foundation: `make foundation` makes them anew (about an hour).
rule foundation_speech:
    output:
        layout.root / "foundation" / "speech" / "index.jsonl",
    params:
        hours=24,
        seed=preset.seed,
    log:
        layout.root / "logs" / "foundation" / "speech.log",
    threads: 2
    conda:
        "../../envs/mlcslm.yaml"
    script:
        "../scripts/foundation_speech.py"


rule foundation_encoder:
    input:
        rules.foundation_speech.output,
    output:
        layout.root / "foundation" / "encoder" / "model.safetensors",
        log=layout.root / "foundation" / "encoder_training.jsonl",
    log:
        layout.root / "logs" / "foundation" / "encoder.log",
    threads: 1
    conda:
        "../../envs/mlcslm.yaml"
    script:
        "../scripts/foundation_encoder.py"


rule foundation_language_model:
    output:
        layout.root / "foundation" / "language_model" / "model.safetensors",
        log=layout.root / "foundation" / "language_model_training.jsonl",
    log:
        layout.root / "logs" / "foundation" / "language_model.log",
    threads: 1
    conda:
        "../../envs/mlcslm.yaml"
    script:
        "../scripts/foundation_language_model.py"
