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


# The same for each part of the training set: what a head hears of speech that it has seen has too few mistakes.
use rule train_ctc_head as train_ctc_fold_head with:
    output:
        layout.ctc_fold_card("{encoder}", "{fold}"),
    log:
        layout.log("train_ctc_fold_head", "{encoder}", "{fold}"),
    benchmark:
        layout.benchmark("train_ctc_fold_head", "{encoder}", "{fold}")


rule first_pass:
    input:
        manifest=layout.training_manifest(),
        cache=layout.cache_card("{encoder}", "train"),
        heads=lambda wildcards: layout.ctc_fold_files(wildcards.encoder),
    output:
        layout.first_passes("{encoder}"),
    log:
        layout.log("first_pass", "{encoder}"),
    benchmark:
        layout.benchmark("first_pass", "{encoder}")
    conda:
        "../../envs/mlcslm.yaml"
    script:
        "../scripts/first_pass.py"
