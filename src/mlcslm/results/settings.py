"""Settings that `results.duckdb` was built with, as values."""

from __future__ import annotations

import json

import duckdb

from mlcslm.text.protocols import Protocol, get_protocol


def config_protocol(connection: duckdb.DuckDBPyConnection) -> Protocol:
    """The protocol that the database's views show."""
    [(config,)] = connection.execute("SELECT value FROM settings WHERE key = 'config'").fetchall()
    scoring = json.loads(config)["scoring"]
    return get_protocol(scoring["protocol"], scoring["normalise_hypothesis"])
