# One folder that opens from disk: pages beside data and audio. Only its first page is an output by name; the folder is
# written whole, and audio of an earlier report is used again.
rule report:
    input:
        tables=[layout.root / "tables" / f"{table}.csv" for table in layout.measured_tables()],
    output:
        layout.root / "report" / "index.html",
    log:
        layout.root / "logs" / "report.log",
    benchmark:
        layout.root / "benchmarks" / "report.tsv"
    conda:
        "../../envs/mlcslm.yaml"
    threads: preset.report.threads
    resources:
        database=1,
    params:
        audio=preset.report.audio,
    script:
        "../scripts/report.py"
