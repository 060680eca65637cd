"""What a run needs before it starts: parameters, memory, operations, GPU hours and jobs, without loading a model."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.plan.plan import Plan as Plan
    from mlcslm.plan.plan import make_plan as make_plan
    from mlcslm.plan.report import as_json as as_json
    from mlcslm.plan.report import as_markdown as as_markdown
    from mlcslm.plan.report import as_text as as_text
    from mlcslm.plan.shapes import read_shapes as read_shapes
    from mlcslm.plan.throughput import read_throughput as read_throughput

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.plan.plan": ("Plan", "make_plan"),
        "mlcslm.plan.report": ("as_json", "as_markdown", "as_text"),
        "mlcslm.plan.shapes": ("read_shapes",),
        "mlcslm.plan.throughput": ("read_throughput",),
    },
)
