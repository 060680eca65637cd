"""Learning curves of all stages, and the rewards that reinforcement logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import plotly.graph_objects as go

from mlcslm.report.charts import COLOURS, chart, smoothed, thinned

_QUANTITIES = {
    "reward": "Reward, weighted sum",
    "loss": "Loss",
    "kl": "KL divergence from the stage before",
    "completion_length": "Tokens of an answer",
    "think_length": "Length of the hypothesis inside <think>",
    "well_formed_share": "Share of answers in form",
    "zero_spread_share": "Share of utterances whose rollouts earn all the same",
}


_LOG_TICKS = [digit * 10.0**power for power in range(-4, 2) for digit in (1, 2, 5)]


def training_sections(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Sections of the training page as `charts.html.j2` expects them; none without a training log."""
    logs = _logs(connection)
    reinforced = _telemetry(connection)
    supervised = {name: log for name, log in logs.items() if name not in reinforced}
    starts = _starts(connection, logs)
    sections: list[dict[str, Any]] = []
    if supervised:
        loss = _curves(supervised, starts, "loss", log=True)
        sections.append(
            {
                "heading": "Training loss of the supervised stages",
                "text": "Mean over a tenth of the stage's steps, against the running total of steps: a stage starts "
                "where its parent ended. Nats per labelled token, as optimised. Click a name to hide its curve.",
                "charts": [chart(**loss, height=420)],
            }
        )
    if measured := _dev_curves(connection):
        colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(logs)}
        sections.append(
            {
                "heading": "On a slice of dev",
                "text": "What stages with eval_steps measured while they trained, against the running total of steps: "
                "errors of greedy answers, and loss of the references in nats per token.",
                "small": True,
                "charts": [
                    chart(**_dev_chart(measured, starts, colours, column), caption=caption, height=280)
                    for column, caption in (("dev_error_rate", "WER/CER, percent"), ("dev_loss", "Loss"))
                    if any(curves[column] for curves in measured.values())
                ],
            }
        )
    if reinforced:
        sections.append(
            {
                "heading": "Reinforcement",
                "text": "Means over ten steps of what each reinforcement stage logged for its rollouts. "
                + _collapses(connection),
                "legend": [(name, COLOURS[number % len(COLOURS)]) for number, name in enumerate(reinforced)],
                "small": True,
                "charts": _telemetry_charts(_with_loss(reinforced, logs)),
            }
        )
    if logs:
        sections.append(
            {
                "heading": "Learning rate and throughput",
                "small": True,
                "charts": [
                    chart(**_curves(logs, starts, "learning_rate"), caption="Learning rate", height=280),
                    chart(**_curves(logs, starts, "tokens_per_second"), caption="Training tokens/s", height=280),
                ],
            }
        )
    return sections


def _logs(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, list[float]]]:
    found = connection.execute(
        "SELECT checkpoint, list(step ORDER BY step), list(loss ORDER BY step), list(learning_rate ORDER BY step), "
        "list(tokens_per_second ORDER BY step) FROM training_log GROUP BY checkpoint ORDER BY min(rowid)"
    ).fetchall()
    names = ("step", "loss", "learning_rate", "tokens_per_second")
    return {checkpoint: dict(zip(names, columns, strict=True)) for checkpoint, *columns in found}


def _dev_curves(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """(step, percent) and (step, loss) of each checkpoint that was measured on dev."""
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for checkpoint, step, rate, loss in connection.execute("SELECT * FROM dev_curves ORDER BY rowid").fetchall():
        curves = found.setdefault(checkpoint, {"dev_error_rate": [], "dev_loss": []})
        curves["dev_error_rate"].append((step, 100 * rate))
        if loss is not None:
            curves["dev_loss"].append((step, loss))
    return found


def _dev_chart(
    measured: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]],
    starts: Mapping[str, int],
    colours: Mapping[str, str],
    column: str,
) -> dict[str, Any]:
    traces = [
        go.Scatter(
            x=[starts.get(name, 0) + step for step, _ in curves[column]],
            y=[value for _, value in curves[column]],
            name=name,
            mode="lines+markers",
            line={"width": 2, "color": colours.get(name, COLOURS[0])},
            hovertemplate=f"%{{y:.4g}} at step %{{x}}<extra>{_plain(name)}</extra>",
        )
        for name, curves in measured.items()
        if curves[column]
    ]
    legend = {"orientation": "h", "y": -0.25}
    return {"traces": traces, "x": {"title": {"text": "step"}}, "y": {"rangemode": "tozero"}, "legend": legend}


def _starts(connection: duckdb.DuckDBPyConnection, logs: Mapping[str, Any]) -> dict[str, int]:
    """Steps before each stage: those of its ancestors."""
    parents = dict(connection.execute("SELECT DISTINCT checkpoint, parent FROM systems").fetchall())

    def steps_before(name: str) -> int:
        parent: str | None = parents.get(name)
        if parent is None or parent not in logs or parent == name:
            return 0
        return steps_before(parent) + int(logs[parent]["step"][-1])

    return {name: steps_before(name) for name in logs}


def _curves(
    logs: Mapping[str, Mapping[str, Sequence[float]]], starts: Mapping[str, int], column: str, log: bool = False
) -> dict[str, Any]:
    traces = []
    for number, (name, values) in enumerate(logs.items()):
        width = max(1, len(values["step"]) // 10) if column == "loss" else 1
        traces.append(
            go.Scatter(
                x=thinned([starts[name] + step for step in values["step"]]),
                y=thinned(smoothed(values[column], width)),
                name=name,
                mode="lines",
                line={"width": 2, "color": COLOURS[number % len(COLOURS)]},
                hovertemplate=f"%{{y:.4g}} at step %{{x}}<extra>{_plain(name)}</extra>",
            )
        )
    rendered = column == "loss"
    y = {"title": {"text": "loss"}, "type": "log", "tickvals": _LOG_TICKS} if log else {"rangemode": "tozero"}
    return {
        "traces": traces,
        "x": {"title": {"text": "step"}},
        "y": y,
        "showlegend": rendered,
        "legend": {"orientation": "h", "y": -0.2},
    }


def _telemetry(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """Steps and values by checkpoint and quantity."""
    found: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for checkpoint, name, steps, values in connection.execute(
        "SELECT checkpoint, name, list(step ORDER BY step), list(value ORDER BY step) FROM reinforcement_log "
        "GROUP BY checkpoint, name ORDER BY min(rowid)"
    ).fetchall():
        found.setdefault(checkpoint, {})[name] = (steps, values)
    return found


def _with_loss(
    reinforced: Mapping[str, Mapping[str, tuple[list[int], list[float]]]], logs: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
    """The telemetry of reinforcement stages with their loss, as one more quantity."""
    return {
        name: {**log, "loss": (logs[name]["step"], logs[name]["loss"])} if name in logs else dict(log)
        for name, log in reinforced.items()
    }


def _telemetry_charts(logged: Mapping[str, Mapping[str, tuple[list[int], list[float]]]]) -> list[dict[str, Any]]:
    names = list(
        dict.fromkeys(
            name for log in logged.values() for name in log if name != "collapsed" and not name.endswith("_std")
        )
    )
    ordered = sorted(names, key=lambda name: (list(_QUANTITIES).index(name) if name in _QUANTITIES else 0.5, name))
    charts = []
    for name in ordered:
        traces = []
        for number, (checkpoint, log) in enumerate(logged.items()):
            if name in log:
                steps, values = log[name]
                traces.append(
                    go.Scatter(
                        x=thinned(steps),
                        y=thinned(smoothed(values, 10)),
                        name=checkpoint.rpartition("/")[2],
                        mode="lines",
                        line={"width": 1.8, "color": COLOURS[number % len(COLOURS)]},
                        hovertemplate=f"%{{y:.4g}} at step %{{x}}<extra>{_plain(checkpoint)}</extra>",
                    )
                )
        caption = _QUANTITIES.get(name, f"Reward: {name.removeprefix('reward_').replace('_', ' ')}")
        charts.append(chart(traces, caption=caption, height=250, showlegend=False))
    return charts


def _collapses(connection: duckdb.DuckDBPyConnection) -> str:
    found = connection.execute("SELECT checkpoint, steps, from_step FROM collapses").fetchall()
    if not found:
        return "No stage's answers lost their form."
    return " ".join(
        f"{name} lost the form of its answers in {steps} steps, first in step {first}." for name, steps, first in found
    )


def _plain(text: str) -> str:
    """Text in which plotly finds no markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("%", "&#37;")
