rule train:
    input:
        manifest=layout.training_manifest(),
        parent=lambda wildcards: layout.parent_file(wildcards.checkpoint),
        cache=lambda wildcards: layout.cache_file(wildcards.checkpoint, "train"),
        reasoning=lambda wildcards: layout.reasoning_file(wildcards.checkpoint),
        hypotheses=lambda wildcards: layout.context_hypotheses(wildcards.checkpoint),
        first_passes=lambda wildcards: sum(layout.first_pass_files(wildcards.checkpoint), []),
        dev=lambda wildcards: layout.measured_manifest(wildcards.checkpoint),
        ctc=lambda wildcards: layout.measuring_ctc_file(wildcards.checkpoint),
        dev_first_passes=lambda wildcards: layout.measuring_hypotheses(wildcards.checkpoint),
    output:
        checkpoint=layout.checkpoint_card("{checkpoint}"),
        log=layout.training_log("{checkpoint}"),
    log:
        layout.log("train", "{checkpoint}"),
    benchmark:
        layout.benchmark("train", "{checkpoint}")
    # Training first: the longest chain of stages decides when the workflow ends.
    priority: 10
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.training_threads
    params:
        stage=lambda wildcards: preset.stages[wildcards.checkpoint].model_dump(mode="json"),
        models=preset.models.model_dump(mode="json"),
        augmentation=preset.augmentation.model_dump(mode="json"),
        seed=preset.seed,
    script:
        "../scripts/train.py"


rule reasoning_data:
    input:
        manifest=layout.training_manifest(),
        hypotheses=layout.reasoning_hypotheses(),
    output:
        layout.reasoning(),
    log:
        layout.log("reasoning_data"),
    benchmark:
        layout.benchmark("reasoning_data")
    conda:
        "../../envs/mlcslm.yaml"
    params:
        max_details=preset.reasoning.max_details,
    script:
        "../scripts/reasoning_data.py"
