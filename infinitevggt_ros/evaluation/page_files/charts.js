// SPDX-License-Identifier: Apache-2.0
// Charts as SVG. A series is {name, x, y, color, width, dots, dash}.
const COLORS = ["#d9480f", "#1c7ed6", "#2b8a3e", "#9c36b5", "#e67700", "#0b7285", "#c2255c", "#5f3dc4"];

function element(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function ticks(low, high, count) {
  const span = high - low || 1, raw = span / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find(factor => factor * power >= raw * 0.999);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step)
    found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}

function short(value) {
  if (Math.abs(value) >= 1e6) return +(value / 1e6).toFixed(2) + " M";
  if (Math.abs(value) >= 1e4) return +(value / 1e3).toFixed(1) + " k";
  return String(+value.toPrecision(4));
}

// options: xlabel, ylabel, equal (one scale for both axes), zero (y from 0), flip (x to the left), height
function chart(place, series, options = {}) {
  const width = options.width || 680, height = options.height || 300;
  const box = { left: 58, right: width - 14, top: 26, bottom: height - 42 };
  const xs = series.flatMap(s => s.x), ys = series.flatMap(s => s.y);
  let [x0, x1] = [Math.min(...xs), Math.max(...xs)], [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  if (options.zero) { y0 = Math.min(0, y0); y1 = y1 + 0.08 * (y1 - y0 || 1); }
  if (options.zeroX) { x0 = 0; x1 *= 1.15; }
  if (options.equal) {
    const pad = 1.08, w = box.right - box.left, h = box.bottom - box.top;
    const unit = Math.max((x1 - x0) / w, (y1 - y0) / h, 1e-9) * pad;
    const [cx, cy] = [(x0 + x1) / 2, (y0 + y1) / 2];
    [x0, x1, y0, y1] = [cx - unit * w / 2, cx + unit * w / 2, cy - unit * h / 2, cy + unit * h / 2];
  }
  if (x1 === x0) x1 = x0 + 1;
  if (y1 === y0) y1 = y0 + 1;
  const share = x => (options.flip ? x1 - x : x - x0) / (x1 - x0);
  const px = x => box.left + share(x) * (box.right - box.left);
  const py = y => box.bottom - (y - y0) / (y1 - y0) * (box.bottom - box.top);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (const at of ticks(x0, x1, 6)) svg.append(
    element("line", { class: "grid", x1: px(at), x2: px(at), y1: box.top, y2: box.bottom }),
    element("text", { x: px(at), y: box.bottom + 17, "text-anchor": "middle" }, short(at)));
  for (const at of ticks(y0, y1, 5)) svg.append(
    element("line", { class: "grid", x1: box.left, x2: box.right, y1: py(at), y2: py(at) }),
    element("text", { x: box.left - 8, y: py(at) + 4, "text-anchor": "end" }, short(at)));
  svg.append(element("line", { class: "axis", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  svg.append(element("text", { x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle" }, options.xlabel || ""));
  svg.append(element("text", { x: 0, y: 12 }, options.ylabel || ""));
  for (const s of series) drawSeries(svg, s, px, py);
  drawLegend(svg, series.filter(s => s.name), box);
  place.replaceChildren(svg);
}

function drawSeries(svg, s, px, py) {
  if (s.dots) s.x.forEach((x, i) => {
    svg.append(element("circle", { cx: px(x), cy: py(s.y[i]), r: s.dots, fill: s.color, stroke: "#fff", "stroke-width": 1.5 }));
  });
  else svg.append(element("polyline", {
    points: s.x.map((x, i) => `${px(x).toFixed(1)},${py(s.y[i]).toFixed(1)}`).join(" "), fill: "none", stroke: s.color,
    "stroke-width": s.width || 1.8, "stroke-linejoin": "round", "stroke-linecap": "round", "stroke-dasharray": s.dash || "none" }));
}

function drawLegend(svg, named, box) {
  let right = box.right;
  for (const s of [...named].reverse()) {
    const text = element("text", { class: "legend", x: right, y: 12, "text-anchor": "end" }, s.name);
    const wide = 7 * s.name.length + 6;
    svg.append(text, element("line", { x1: right - wide - 16, x2: right - wide, y1: 8, y2: 8, stroke: s.color, "stroke-width": Math.max(3, s.width || 0) }));
    right -= wide + 34;
  }
}
