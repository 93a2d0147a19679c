"use strict";
// Saves the picture of a figure as a file: its SVG, or what a canvas makes of it.
const SVG = "http://www.w3.org/2000/svg";
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text != null) made.textContent = text;
  return made;
}

function words(x, y, text, more = {}) {
  return element("text", { x, y, fill: colour("--text"), "font-size": 13, ...more }, text);
}

// The colours and names under a chart, as this page writes them.
function entries(figure) {
  return [...figure.querySelectorAll(".key")].map((key) => [key.textContent.trim(), key.querySelector("path").getAttribute("fill")]);
}

// What CSS gives a picture becomes a part of it.
function withStyles(drawn) {
  const copy = drawn.cloneNode(true);
  const texts = [...drawn.querySelectorAll("text, path.line, path.mark")];
  [...copy.querySelectorAll("text, path.line, path.mark")].forEach((each, n) => {
    const style = getComputedStyle(texts[n]);
    each.setAttribute(each.tagName === "text" ? "fill" : "stroke", each.tagName === "text" ? style.fill : style.stroke);
  });
  return copy;
}

// Puts a picture on the colour of the page, below its title and above its legend.
function framed(inner, [width, height], title, legend) {
  const [top, rows] = [title ? 30 : 8, []];
  let x = 8, line = 0;
  for (const [name, fill] of legend) {
    const long = 26 + 13 * [...name].reduce((sum, one) => sum + (one > "\u2e80" ? 1 : 0.58), 0);
    if (x > 8 && x + long > width) [x, line] = [8, line + 1];
    rows.push([name, fill, x, top + height + 20 + 20 * line]);
    x += long;
  }
  const whole = [width, top + height + 8 + (legend.length ? 20 * (line + 1) : 0)];
  const picture = element("svg", {
    xmlns: SVG, viewBox: `0 0 ${whole[0]} ${whole[1]}`, width: whole[0], height: whole[1], role: "img",
    "font-family": getComputedStyle(document.body).fontFamily,
  });
  picture.append(element("title", {}, title), element("rect", { width: "100%", height: "100%", fill: colour("--back") }));
  if (title) picture.append(words(8, 20, title, { "font-weight": 600 }));
  inner.setAttribute("x", 0);
  inner.setAttribute("y", top);
  inner.setAttribute("width", width);
  inner.setAttribute("height", height);
  picture.append(inner);
  for (const [name, fill, at, y] of rows) picture.append(element("rect", { x: at, y: y - 9, width: 10, height: 10, fill }), words(at + 15, y, name));
  return picture;
}

// The lines of a uPlot chart, whose canvas is no SVG, drawn from its data with its own scales.
function linesOf(place) {
  const { names, colours, data } = JSON.parse(place.dataset.lines);
  const plot = place.plot, ratio = devicePixelRatio || 1;
  const box = { left: plot.bbox.left / ratio, top: plot.bbox.top / ratio, width: plot.bbox.width / ratio, height: plot.bbox.height / ratio };
  const inner = element("svg", { viewBox: `0 0 ${plot.width} ${box.top + box.height + 30}` });
  const y = (value) => box.top + plot.valToPos(value, "y");
  const x = (value) => box.left + plot.valToPos(value, "x");
  plot.axes[1]._splits.forEach((tick, n) => {
    inner.append(element("path", { d: `M${box.left} ${y(tick)}h${box.width}`, stroke: colour("--line"), fill: "none" }));
    inner.append(words(box.left - 6, y(tick) + 4, plot.axes[1]._values[n], { "text-anchor": "end", "font-size": 12 }));
  });
  plot.axes[0]._splits.forEach((tick, n) => {
    inner.append(words(x(tick), box.top + box.height + 20, `${plot.axes[0]._values[n] ?? ""}`.replace("\n", " "), { "text-anchor": "middle", "font-size": 12 }));
  });
  names.forEach((_, n) => {
    const points = data[0].map((at, place) => [at, data[n + 1][place]]).filter(([, value]) => value != null);
    const path = points.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    inner.append(element("polyline", { points: path, fill: "none", stroke: colours[n], "stroke-width": 2 }));
    if (points.length < 40) points.forEach(([at, value]) => inner.append(element("circle", { cx: x(at), cy: y(value), r: 3, fill: colours[n] })));
  });
  return [inner, [plot.width, box.top + box.height + 30], names.map((name, n) => [name, colours[n]])];
}

function pictureOf(figure) {
  const title = titleOf(figure);
  const lines = figure.querySelector("[data-lines]"), chart = figure.querySelector("[data-chart]");
  if (lines) {
    const [inner, size, legend] = linesOf(lines);
    return framed(inner, size, title, legend);
  }
  if (chart) return framed(withStyles(chart.querySelector("svg")), [chart.chart.getWidth(), chart.chart.getHeight()], title, []);
  const drawn = [...figure.children].find((each) => each.tagName === "svg");
  const { width, height } = drawn.viewBox.baseVal;
  return framed(withStyles(drawn), [width, height], title, entries(figure));
}

function titleOf(figure) {
  const caption = figure.querySelector("figcaption")?.firstChild?.textContent;
  const label = figure.querySelector("[data-lines], [data-chart]")?.getAttribute("aria-label");
  return (caption || label || figure.querySelector("svg > title")?.textContent || document.title).trim();
}

// A data: URL, which the policy of the pages allows in pictures; a blob: URL would need more.
async function asPng(picture, text) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const scale = 2, canvas = document.createElement("canvas");
  canvas.width = picture.getAttribute("width") * scale;
  canvas.height = picture.getAttribute("height") * scale;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

async function save(button) {
  const figure = button.closest("figure"), form = button.dataset.save;
  const picture = pictureOf(figure);
  const text = new XMLSerializer().serializeToString(picture);
  const content = form === "png" ? await asPng(picture, text) : new Blob([text], { type: "image/svg+xml" });
  const name = [document.querySelector("h1").textContent, titleOf(figure)].join(" ").replace(/[^\p{L}\p{N}.]+/gu, "-");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = `segadmin-${name.replace(/^-|-$/g, "").slice(0, 80)}.${form}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-save]");
  if (button) save(button);
});
