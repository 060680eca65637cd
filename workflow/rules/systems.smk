# External systems (docs/submissions.md), scored like our own, so that tables, database and report include them.
rule evaluate:
    input:
        files=lambda wildcards: layout.external_files(wildcards.external, wildcards.split),
        manifest=rules.manifest.output[0],
    output:
        card=layout.external_card("{external}", "{split}"),
        counts=layout.external_counts("{external}", "{split}"),
        hypotheses=layout.external_hypotheses("{external}", "{split}"),
    log:
        layout.log("evaluate", "{external}", "{split}"),
    benchmark:
        layout.benchmark("evaluate", "{external}", "{split}")
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        system=lambda wildcards: preset.systems[wildcards.external].model_dump(mode="json", exclude={"files"}),
        protocol=preset.scoring.protocol,
        normalise_hypothesis=preset.scoring.normalise_hypothesis,
    script:
        "../scripts/evaluate.py"


# Submissions for the test set, and below dev/ for the development set; read back and scored with the official steps.
rule submission_track1:
    input:
        hypotheses=lambda wildcards: layout.submission_inputs(wildcards.system, submitted_split(wildcards), 1),
        manifest=lambda wildcards: layout.manifest(submitted_split(wildcards)),
    output:
        submission=layout.submission("{system}", 1, "{of_dev}"),
        check=layout.submission("{system}", 1, "{of_dev}", ".json"),
    log:
        layout.log("submissions", "{system}", "{of_dev}track1"),
    benchmark:
        layout.benchmark("submissions", "{system}", "{of_dev}track1")
    wildcard_constraints:
        system="|".join(map(re.escape, layout.submitting(1))),
    conda:
        "../../envs/mlcslm.yaml"
    params:
        split=lambda wildcards: submitted_split(wildcards),
        track=1,
    script:
        "../scripts/submission.py"


rule submission_track2:
    input:
        hypotheses=lambda wildcards: layout.submission_inputs(wildcards.system, submitted_split(wildcards), 2),
        manifest=lambda wildcards: layout.manifest(submitted_split(wildcards)),
    output:
        submission=layout.submission("{system}", 2, "{of_dev}"),
        check=layout.submission("{system}", 2, "{of_dev}", ".json"),
    log:
        layout.log("submissions", "{system}", "{of_dev}track2"),
    benchmark:
        layout.benchmark("submissions", "{system}", "{of_dev}track2")
    wildcard_constraints:
        system="|".join(map(re.escape, layout.submitting(2))) or NONE,
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.resources.decoding_threads
    params:
        split=lambda wildcards: submitted_split(wildcards),
        track=2,
    script:
        "../scripts/submission.py"
