# vLLM excludes this package's dependencies: jobs start it in an environment of its own, which this rule finds.
rule vllm:
    output:
        layout.engine("vllm"),
    log:
        layout.log("vllm"),
    benchmark:
        layout.benchmark("vllm")
    conda:
        "../../envs/vllm.yaml"
    params:
        own=sys.executable,
        python=preset.engines.vllm.python or "python",
    shell:
        # The environment's own python is the first one on the path, with conda; a path remains what it is.
        "{params.own:q} -m mlcslm.decoding.engine_environment"
        ' "$(command -v {params.python:q} || echo {params.python:q})" {output:q} 2> >(tee {log:q} >&2)'
