"""The Grafana dashboards of deploy/monitoring/dashboards: `make dashboards` writes their JSON anew.

They are made by Grafana's own typed builders, so that a misspelt field fails here and not in a
browser. tests/test_monitoring.py compares the files with what this makes, and the names of metrics
with those that Pixelmill shows.
"""

from pathlib import Path

from dashboard_boards import BOARDS, Board, Chart
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

FOLDER = Path(__file__).parent.parent / "deploy" / "monitoring" / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
COLUMNS = 24


def to_json(board: Board) -> str:
    """The dashboard as Grafana imports it."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["pixelmill"])
        .refresh("10s")
        .time("now-1h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Source").type("prometheus")
        )
    )
    if board.of_one_model:
        made.with_variable(_models())
    for title, charts in board.rows.items():
        made.with_row(dashboard.Row(title))
        for chart in charts:
            made.with_panel(_panel(chart, COLUMNS // len(charts)))
    return str(JSONEncoder(sort_keys=True, indent=2).encode(made.build())) + "\n"


def _models() -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable("model")
        .label("Model")
        .datasource(SOURCE)
        .query("label_values(pixelmill_runs_total, model)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )


def _panel(chart: Chart, width: int) -> stat.Panel | timeseries.Panel:
    panel = stat.Panel() if chart.is_number else timeseries.Panel()
    panel.title(chart.title).description(chart.description).unit(chart.unit).datasource(SOURCE)
    panel.span(width).height(4 if chart.is_number else 8).min(0)
    steps = [Threshold(value=None, color="green")]
    if chart.limit is not None:
        steps.append(Threshold(value=chart.limit, color="red"))
    panel.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    for number, (expr, legend) in enumerate(chart.queries.items()):
        # Without a refId of its own, Grafana shows one query of several.
        query = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(65 + number))
        panel.with_target(query)
    if isinstance(panel, timeseries.Panel):
        _draw(panel, chart)
    return panel


def _draw(panel: timeseries.Panel, chart: Chart) -> None:
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST)
    panel.legend(legend.placement(LegendPlacement.BOTTOM).show_legend(True)).fill_opacity(10)
    if chart.is_stacked:
        panel.stacking(common.StackingConfig().mode("normal").group("A")).fill_opacity(30)
    if chart.limit is not None:
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode("dashed"))


if __name__ == "__main__":
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(to_json(board))
