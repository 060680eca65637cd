"""The report: pages of `results.duckdb` that open from disk, with an error browser to read and to listen to."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.report.build import build_report as build_report
    from mlcslm.report.turn_pictures import draw_sessions as draw_sessions

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.report.build": ("build_report",),
        "mlcslm.report.turn_pictures": ("draw_sessions",),
    },
)
