"""Layout that all charts of the report share, without the page's colours, and their form for the templates."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

# Okabe and Ito's colours and two more, of a lightness that is visible on white and on black.
COLOURS = ("#3b8fd4", "#e08a00", "#12a27a", "#c9609b", "#8a6fdf", "#d1603d", "#6f8f2f", "#1fa3b8", "#a08050", "#888f9c")


def chart(
    traces: Sequence[Any],
    *,
    caption: str = "",
    height: int = 360,
    x: Mapping[str, Any] | None = None,
    y: Mapping[str, Any] | None = None,
    **layout: Any,
) -> dict[str, Any]:
    """A chart as `charts.html.j2` expects it. x, y: settings of the axes; height in pixels."""
    layout |= {
        "template": "none",
        "margin": {"l": 56, "r": 12, "t": 12, "b": 44},
        "xaxis": {"automargin": True, **(x or {})},
        "yaxis": {"automargin": True, **(y or {})},
        "hovermode": "closest",
        "colorway": COLOURS,
    }
    figure = go.Figure(list(traces), layout=layout)
    return {"caption": caption, "height": height, "figure": json.loads(figure.to_json())}


def smoothed(values: Sequence[float], width: int) -> list[float]:
    """Mean of each value and up to `width - 1` values before it.

    >>> smoothed([2.0, 4.0, 6.0], 2)
    [2.0, 3.0, 5.0]
    """
    means, total = [], 0.0
    for index, value in enumerate(values):
        total += value - (values[index - width] if index >= width else 0.0)
        means.append(total / min(index + 1, width))
    return means


def thinned(values: Sequence[Any], most: int = 600) -> list[Any]:
    """About `most` of `values`, evenly spread, always including the last."""
    step = -(-len(values) // most) if values else 1
    kept = list(values[::step])
    return kept if not values or (len(values) - 1) % step == 0 else [*kept, values[-1]]
