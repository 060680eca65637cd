// Draws every .chart of the page from the figure inside it, in the page's colours.
"use strict";
(() => {
  const colour = (name) => {
    const probe = document.createElement("i");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const value = getComputedStyle(probe).color;
    probe.remove();
    return value;
  };
  const layout = (figure) => {
    const axis = { gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line") };
    const themed = {
      ...figure.layout,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
      hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line"), font: { color: colour("text") } },
    };
    if (innerWidth < 600) themed.font.size = 9.5;
    for (const name of Object.keys(figure.layout)) {
      if (/^[xy]axis\d*$/.test(name)) themed[name] = { ...axis, ...figure.layout[name] };
    }
    return themed;
  };
  const traces = (figure) => figure.data.map((trace) => {
    const own = { published: "muted", outline: "text" }[trace.meta];
    if (own) return { ...trace, marker: { ...trace.marker, color: colour(own) } };
    return trace.texttemplate ? { ...trace, textfont: { color: colour("text") } } : trace;
  });
  const options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "toImage"] };
  const charts = [...document.querySelectorAll(".chart")].map((element) => {
    const source = element.querySelector("script");
    source.remove();
    return { element, figure: JSON.parse(source.textContent) };
  });
  const draw = ({ element, figure }) => {
    Plotly.react(element, traces(figure), layout(figure), options);
    if (element.dataset.ready) return;
    element.dataset.ready = "true";
    element.on("plotly_click", (event) => {
      const link = event.points[0].customdata;
      if (typeof link === "string" && link.startsWith("utterances.html#")) location.href = link;
    });
  };
  // Charts are drawn when they scroll into view.
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries.filter((one) => one.isIntersecting)) {
      const chart = charts.find(({ element }) => element === entry.target);
      if (!chart.element.dataset.ready) draw(chart);
    }
  }, { rootMargin: "400px" });
  charts.forEach(({ element }) => seen.observe(element));
  document.addEventListener("theme", () => charts.filter(({ element }) => element.dataset.ready).forEach(draw));
})();
