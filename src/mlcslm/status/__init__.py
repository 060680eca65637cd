"""How far a run has come, read from what its jobs leave on disk."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.status.run import Part as Part
    from mlcslm.status.run import needed_stages as needed_stages
    from mlcslm.status.run import read_status as read_status
    from mlcslm.status.traces import Trace as Trace

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.status.run": ("Part", "needed_stages", "read_status"),
        "mlcslm.status.traces": ("Trace",),
    },
)
