# First passes of the training set: of speech that they have seen, a head or a checkpoint would make too few mistakes.
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


# As for the reasoning data, but always clean.
use rule decode_training_set as decode_fold with:
    input:
        checkpoint=rules.train.output.checkpoint,
        manifest=layout.training_manifest(),
        engine=lambda wildcards: layout.engine_file(wildcards.decoding),
    output:
        layout.fold_hypotheses("{checkpoint}", "{decoding}", "{shard}"),
    log:
        layout.log("decode_fold", "{checkpoint}", "{decoding}", "{shard}"),
    benchmark:
        layout.benchmark("decode_fold", "{checkpoint}", "{decoding}", "{shard}")
    params:
        decoding=lambda wildcards: preset.decodings[wildcards.decoding].model_dump(mode="json"),
        snr_db=None,
        groups=lambda wildcards: layout.shards()[wildcards.shard],
