"""The report: pages of `results.duckdb` that open from disk, with an error browser to read and to listen to."""
