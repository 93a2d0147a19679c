"use strict";
// Draws the charts of a page. Each has its data in an attribute, and the same numbers in a table beside it.
const text = () => getComputedStyle(document.documentElement).getPropertyValue("--soft").trim();
const line = () => getComputedStyle(document.documentElement).getPropertyValue("--line").trim();
const locale = document.documentElement.lang;
const day = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric" });
const clock = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const month = new Intl.DateTimeFormat(locale, { year: "numeric", month: "short" });
const count = new Intl.NumberFormat(locale);

// The ticks of a time axis, as far apart as `step` seconds, in the form of the language.
function dates(_, ticks, _axis, _space, step) {
  const form = step >= 28 * 86400 ? month : step >= 86400 ? day : clock;
  return ticks.map((tick) => form.format(tick * 1000));
}

function drawLines(place) {
  const { names, colours, data } = JSON.parse(place.dataset.lines);
  const axis = { stroke: text(), grid: { stroke: line(), width: 1 }, ticks: { stroke: line(), width: 1 } };
  const format = (_, value) => (value == null ? "–" : count.format(value));
  const size = () => ({ width: Math.max(place.clientWidth, 200), height: Math.max(place.clientHeight - 40, 140) });
  const plot = new uPlot({
    ...size(),
    axes: [{ ...axis, space: 90, values: dates }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => count.format(tick)) }],
    series: [
      { label: place.dataset.time, value: (_, at) => (at == null ? "–" : new Date(at * 1000).toLocaleDateString(locale)) },
      ...names.map((name, n) => ({
        label: name, stroke: colours[n], width: 2, spanGaps: true, points: { show: data[0].length < 40 }, value: format,
      })),
    ],
  }, data, place);
  place.plot = plot;
  new ResizeObserver(() => plot.setSize(size())).observe(place);
}

function drawSankey(place, data) {
  const label = (name) => name.slice(2);
  return {
    tooltip: {
      renderMode: "richText",
      formatter: ({ data: of, name, value }) =>
        of.source ? `${label(of.source)} → ${label(of.target)}: ${count.format(of.value)}` : `${label(name)}: ${count.format(value)}`,
    },
    series: [{
      type: "sankey", data: data.nodes, links: data.links, left: 8, right: 120, top: 8, bottom: 8, nodeGap: 10,
      lineStyle: { color: "source", opacity: 0.35 }, emphasis: { focus: "adjacency" },
      label: { color: text(), formatter: ({ name }) => label(name) },
    }],
  };
}

function drawHeatmap(place, data) {
  const most = Math.max(1, ...data.cells.map(([, , value]) => value));
  return {
    tooltip: { renderMode: "richText", formatter: ({ value: [x, y, users] }) => `${data.rows[y]} → ${data.columns[x]}: ${count.format(users)}` },
    grid: { left: 8, right: 8, top: 8, bottom: 8, containLabel: true },
    xAxis: { type: "category", data: data.columns, axisLabel: { color: text() } },
    yAxis: { type: "category", data: data.rows, inverse: true, axisLabel: { color: text() } },
    visualMap: { min: 0, max: most, show: false, inRange: { color: ["#eaf3f9", "#0072b2"] } },
    series: [{ type: "heatmap", data: data.cells.map((value) => ({ value, label: { color: value[2] > 0.8 * most ? "#fff" : "#1d2329" } })), label: { show: true, formatter: ({ value }) => count.format(value[2]) } }],
  };
}

const kinds = { sankey: drawSankey, heatmap: drawHeatmap };

function drawChart(place) {
  const data = JSON.parse(place.dataset.chart);
  const chart = echarts.init(place, null, { renderer: "svg", locale: locale.startsWith("zh") ? "ZH" : "EN" });
  const aria = { enabled: true, label: { description: place.getAttribute("aria-label") } };
  chart.setOption({ animation: false, aria, ...kinds[data.kind](place, data) });
  place.chart = chart;
  new ResizeObserver(() => chart.resize()).observe(place);
}

document.querySelectorAll("[data-lines]").forEach(drawLines);
document.querySelectorAll("[data-chart]").forEach(drawChart);
