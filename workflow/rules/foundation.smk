# The demo's foundation models, shipped in resources/foundation: `make foundation` rebuilds them (about four hours).
rule foundation_speech:
    output:
        layout.foundation("speech", "index.jsonl"),
    log:
        layout.log("foundation", "speech"),
    conda:
        "../../envs/mlcslm.yaml"
    threads: 2
    params:
        hours=56,
        seed=preset.seed,
    script:
        "../scripts/foundation_speech.py"


rule foundation_encoder:
    input:
        rules.foundation_speech.output,
    output:
        layout.foundation("encoder", "model.safetensors"),
        log=layout.foundation("encoder_training.jsonl"),
    log:
        layout.log("foundation", "encoder"),
    conda:
        "../../envs/mlcslm.yaml"
    threads: 1
    script:
        "../scripts/foundation_encoder.py"


rule foundation_language_model:
    output:
        layout.foundation("language_model", "model.safetensors"),
        log=layout.foundation("language_model_training.jsonl"),
    log:
        layout.log("foundation", "language_model"),
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
        layout.foundation("README.md"),
    log:
        layout.log("foundation", "card"),
    conda:
        "../../envs/mlcslm.yaml"
    params:
        hours=rules.foundation_speech.params.hours,
        seed=preset.seed,
    script:
        "../scripts/foundation_card.py"
