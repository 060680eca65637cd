# One folder that opens from disk: pages beside data and audio. Only its first page is an output by name; the folder is
# written whole, and audio of an earlier report is used again.
rule report:
    input:
        database=rules.database.output[0],
        tables=[layout.table(name) for name in layout.measured_tables()],
        statistics=[layout.corpus_statistics(split) for split in SPLITS],
    output:
        layout.report(),
    log:
        layout.log("report"),
    benchmark:
        layout.benchmark("report")
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.report.threads
    params:
        audio=preset.report.audio,
        published=preset.report.published,
    script:
        "../scripts/report.py"
