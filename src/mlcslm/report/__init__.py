"""The report: what `results.duckdb` holds as pages that open from disk, with an error browser to look and listen."""
