# Decodings that a table compares on one checkpoint are computed together: the first job loads the model and runs all
# that no other job is running; the others collect their results (mlcslm.decoding.grids).
rule decode:
    input:
        checkpoint=rules.train.output.checkpoint,
        manifest=rules.manifest.output[0],
        cache=lambda wildcards: layout.cache_file(wildcards.checkpoint, wildcards.split),
        ctc=lambda wildcards: layout.ctc_file(wildcards.checkpoint, wildcards.decoding),
        first_passes=lambda wildcards: layout.first_pass_hypotheses(wildcards.checkpoint, wildcards.split),
        engine=lambda wildcards: layout.engine_file(wildcards.decoding),
    output:
        layout.shard_hypotheses("{checkpoint}", "{decoding}", "{split}", "{shard}"),
    log:
        layout.log("decode", "{checkpoint}", "{decoding}", "{split}", "{shard}"),
    benchmark:
        layout.benchmark("decode", "{checkpoint}", "{decoding}", "{split}", "{shard}")
    wildcard_constraints:
        checkpoint="|".join(map(re.escape, preset.stages)) or NONE,
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        decoding=lambda wildcards: preset.decodings[wildcards.decoding].model_dump(mode="json"),
        groups=lambda wildcards: layout.shards()[wildcards.shard],
    script:
        "../scripts/decode.py"


rule recognize:
    input:
        manifest=rules.manifest.output[0],
    output:
        layout.shard_hypotheses("{recognizer}", "{decoding}", "{split}", "{shard}"),
    log:
        layout.log("recognize", "{recognizer}", "{decoding}", "{split}", "{shard}"),
    benchmark:
        layout.benchmark("recognize", "{recognizer}", "{decoding}", "{split}", "{shard}")
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        recognizer=lambda wildcards: preset.recognizers[wildcards.recognizer].model_dump(
            mode="json", exclude={"batch_size"}
        ),
        groups=lambda wildcards: layout.shards()[wildcards.shard],
    script:
        "../scripts/recognize.py"


# For the reasoning data. Encoder outputs are never read from the cache, whose training audio is augmented.
rule decode_training_set:
    input:
        checkpoint=rules.train.output.checkpoint,
        manifest=layout.training_manifest(),
        engine=lambda wildcards: layout.engine_file(preset.reasoning.decoding),
    output:
        layout.training_hypotheses("{checkpoint}", "{shard}"),
    log:
        layout.log("decode_training_set", "{checkpoint}", "{shard}"),
    benchmark:
        layout.benchmark("decode_training_set", "{checkpoint}", "{shard}")
    # Reinforcement comes after it: the longest chain decides when the workflow ends.
    priority: 10
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        decoding=lambda wildcards: preset.decodings[preset.reasoning.decoding].model_dump(mode="json"),
        snr_db=preset.reasoning.snr_db,
        groups=lambda wildcards: layout.shards()[wildcards.shard],
    script:
        "../scripts/decode_training_set.py"
