# A judge of what the language model answers, which hears letters: a linear layer on the encoder's cached outputs.
rule train_ctc_head:
    input:
        manifest=layout.training_manifest(),
        cache=layout.cache_card("{encoder}", "train"),
    output:
        layout.ctc_card("{encoder}"),
    log:
        layout.log("train_ctc_head", "{encoder}"),
    benchmark:
        layout.benchmark("train_ctc_head", "{encoder}")
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.training_threads
    params:
        # The number of folds is in their names: another leaves what is trained as it is.
        ctc=preset.ctc.model_dump(mode="json", exclude={"folds"}),
        seed=preset.seed,
    script:
        "../scripts/train_ctc_head.py"
