# The demo's foundation models, shipped in resources/foundation: `make foundation` makes them anew (about two hours).
rule foundation_speech:
    output:
        layout.root / "foundation" / "speech" / "index.jsonl",
    log:
        layout.root / "logs" / "foundation" / "speech.log",
    conda:
        "../../envs/mlcslm.yaml"
    threads: 2
    params:
        hours=30,
        seed=preset.seed,
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
    conda:
        "../../envs/mlcslm.yaml"
    threads: 1
    script:
        "../scripts/foundation_encoder.py"


rule foundation_language_model:
    output:
        layout.root / "foundation" / "language_model" / "model.safetensors",
        log=layout.root / "foundation" / "language_model_training.jsonl",
    log:
        layout.root / "logs" / "foundation" / "language_model.log",
    conda:
        "../../envs/mlcslm.yaml"
    threads: 1
    script:
        "../scripts/foundation_language_model.py"


rule foundation_card:
    input:
        encoder=rules.foundation_encoder.output,
        language_model=rules.foundation_language_model.output,
        manifest=layout.manifest("dev"),
    output:
        layout.root / "foundation" / "README.md",
    log:
        layout.root / "logs" / "foundation" / "card.log",
    conda:
        "../../envs/mlcslm.yaml"
    params:
        hours=rules.foundation_speech.params.hours,
        seed=preset.seed,
    script:
        "../scripts/foundation_card.py"
