"""What a run measured: `results.duckdb`, its tables and comparisons, and the external systems added to it."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.results.averages import write_averages as write_averages
    from mlcslm.results.comparison import compare_in_database as compare_in_database
    from mlcslm.results.database import SystemRow as SystemRow
    from mlcslm.results.database import build_database as build_database
    from mlcslm.results.database import collect_database as collect_database
    from mlcslm.results.database import open_database as open_database
    from mlcslm.results.evaluate_external import join_results as join_results
    from mlcslm.results.external_systems import ExternalSystem as ExternalSystem
    from mlcslm.results.tables import render_table as render_table
    from mlcslm.results.tables import renderable_names as renderable_names
    from mlcslm.results.tables import write_table as write_table

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.results.averages": ("write_averages",),
        "mlcslm.results.comparison": ("compare_in_database",),
        "mlcslm.results.database": ("SystemRow", "build_database", "collect_database", "open_database"),
        "mlcslm.results.evaluate_external": ("join_results",),
        "mlcslm.results.external_systems": ("ExternalSystem",),
        "mlcslm.results.tables": ("render_table", "renderable_names", "write_table"),
    },
)
