# One folder that opens from disk: pages, data and audio. Only its first page is declared as an output; the folder is
# replaced as a whole, reusing an earlier report's audio.
rule report:
    input:
        database=rules.database.output[0],
        tables=[layout.table(name) for name in layout.measured_tables()],
        statistics=[layout.corpus_statistics(split) for split in layout.splits],
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
