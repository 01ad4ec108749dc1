// SPDX-License-Identifier: Apache-2.0
const DATA = JSON.parse(document.getElementById("data").textContent);
const at = id => document.getElementById(id);
const view = new PointView(at("view"));
const sources = new Set(DATA.runs.map(run => run.name));
const titleOf = run => sources.size > 1 ? `${run.name}: ${run.label}` : run.label;
const column = (points, axis) => points.map(point => point[axis]);
const html = (name, text, className) => { const made = document.createElement(name); made.textContent = text; if (className) made.className = className; return made; };

function tiles(run) {
  const { trajectory, trajectory_corrected: corrected, depth, reconstruction, run: load } = run.metrics, found = [];
  const add = (value, unit, name, note) => value == null || found.push([value, unit, name, note]);
  if (trajectory) {
    add(trajectory.sim3.ate_rmse.toFixed(3), "m", "ATE, live", `${corrected ? `corrected by loop closures: ${corrected.sim3.ate_rmse.toFixed(3)} m; ` : ""}Sim(3)-aligned; standing still: ${trajectory.ate_rmse_standing.toFixed(3)} m`);
    add(trajectory.sim3.rotation_deg_median.toFixed(2), "°", "rotation error", `median, Sim(3)-aligned; max ${trajectory.sim3.rotation_deg_max.toFixed(1)}°`);
  }
  if (depth) {
    add(depth.scale.absrel.toFixed(3), "", "depth AbsRel", `scale and shift: ${depth.scale_shift.absrel.toFixed(3)}`);
    add((100 * depth.scale.delta125).toFixed(1), "%", "depth δ < 1.25", `RMSE ${depth.scale.rmse.toFixed(2)} m`);
  }
  if (reconstruction) add((100 * reconstruction.chamfer).toFixed(1), "cm", "Chamfer distance", `acc ${(100 * reconstruction.acc).toFixed(1)}, comp ${(100 * reconstruction.comp).toFixed(1)} cm`);
  add(load.frames_per_s.toFixed(1), "", "frames per second", `p95 ${load.latency_ms.p95.toFixed(0)} ms`);
  add(load.stream_memory_mb.toFixed(0), "MB", "stream memory", `${short(load.tokens_kept)} tokens kept`);
  add(String(load.frames_used), "", "frames used", `${load.frames_rejected} rejected of ${load.frames_in}`);
  at("tiles").replaceChildren(...found.map(([value, unit, name, note]) => {
    const tile = html("div", "", "tile"), big = html("b", value);
    if (unit) big.append(html("small", unit));
    tile.append(html("span", name), big, html("i", note));
    return tile;
  }));
}

function ways(run) {
  const { found, truth, corrected, keyframes, loops } = run.path, unit = run.unit;
  for (const [id, across, up, flip] of [["top", 1, 0, true], ["side", 0, 2, false]]) {
    const series = [];
    if (truth) series.push({ name: "truth", x: column(truth, across), y: column(truth, up), color: "#b9c3cc", width: 6 });
    series.push({ name: truth ? "live trajectory, Sim(3)-aligned" : "live trajectory", x: column(found, across), y: column(found, up), color: COLORS[0], width: 2.2 });
    if (keyframes.length) {
      for (const loop of loops) series.push({ x: column(loop, across), y: column(loop, up), color: "#40c057", width: 1.4 });
      series.push({ name: "corrected by loop closures", x: column(corrected, across), y: column(corrected, up), color: COLORS[1], width: 1.6 });
      series.push({ name: "keyframes", x: column(keyframes, across), y: column(keyframes, up), color: COLORS[1], dots: 2.5 });
    }
    series.push({ x: [found[0][across]], y: [found[0][up]], color: COLORS[0], dots: 6 });
    const names = ["x, forward", "y, left", "z, up"];
    chart(at(id), series, { equal: true, flip, height: 400, xlabel: `${names[across]} (${unit})`, ylabel: `${names[up]} (${unit})` });
  }
}

function errors(run) {
  const { errorSeconds, error, rotation } = run.path;
  at("error-row").hidden = !error;
  if (!error) return;
  at("error-row").style.display = "";
  const line = (y, color) => [{ x: errorSeconds, y, color }];
  chart(at("error"), line(error, COLORS[0]), { zero: true, xlabel: "time (s)", ylabel: "distance from the truth after Sim(3) (m)", height: 250 });
  chart(at("rotation"), line(rotation, COLORS[1]), { zero: true, xlabel: "time (s)", ylabel: "relative to the first camera (°)", height: 250 });
}

function strips(run) {
  const rows = [["image", "image"], ["truth", "truth"], ["depth", "found"], ["error", "error"]].filter(([key]) => run.strips.some(strip => strip[key]));
  const grid = html("div", "", "strip");
  grid.style.setProperty("--n", run.strips.length);
  grid.append(html("span", ""), ...run.strips.map(strip => html("span", `frame ${strip.index}`, "head")));
  for (const [key, name] of rows) {
    grid.append(html("span", name));
    for (const strip of run.strips) {
      const image = document.createElement("img");
      image.src = strip[key] || "";
      image.alt = `${name} of frame ${strip.index}`;
      grid.append(image);
    }
  }
  const note = html("p", run.metrics.depth ? "Depth near to far: red to blue, both on the scale of the truth. Error: |depth / truth − 1|, black 0 to white 50 %." : "Depth near to far: red to blue.", "hint");
  at("strips").replaceChildren(grid, note);
}

function load(run) {
  const { seconds, latency_ms, memory_bytes, process_bytes } = run.load, p95 = run.metrics.run.latency_ms.p95;
  const ends = [seconds[0], seconds[seconds.length - 1]];
  chart(at("latency"), [{ name: "frame", x: seconds, y: latency_ms, color: COLORS[1], width: 1.2 }, { name: "p95", x: ends, y: [p95, p95], color: "#5b6875", dash: "6 5" }],
    { zero: true, xlabel: "time in the recording (s)", ylabel: "ms", height: 250 });
  const megabytes = values => values.map(value => value / 1e6);
  chart(at("memory"), [{ name: "stream", x: seconds, y: megabytes(memory_bytes), color: COLORS[0], width: 2.4 }, { name: "device or process", x: seconds, y: megabytes(process_bytes), color: "#98a4b0" }],
    { zero: true, xlabel: "time in the recording (s)", ylabel: "MB", height: 250 });
}

function listing(place, groups) {
  place.replaceChildren(...Object.entries(groups).filter(([, group]) => group).flatMap(([name, group]) => flat(group, name)).map(([name, entries]) => {
    const block = document.createElement("div"), list = document.createElement("dl");
    for (const [key, value] of entries) list.append(html("dt", key.replaceAll("_", " ")), html("dd", shown(value)));
    block.append(html("h3", name.replaceAll("_", " ")), list);
    return block;
  }));
}

const isGroup = value => value && typeof value === "object" && !Array.isArray(value);
const shown = value => typeof value === "number" ? String(+value.toPrecision(5)) : value === null ? "–" : Array.isArray(value) ? value.join(", ") : String(value);

function flat(group, name) {
  const plain = Object.entries(group).filter(([, value]) => !isGroup(value)), inner = Object.entries(group).filter(([, value]) => isGroup(value) && Object.keys(value).length);
  return [...(plain.length ? [[name, plain]] : []), ...inner.flatMap(([key, value]) => flat(value, `${name}: ${key}`))];
}

function compare() {
  at("comparison").hidden = DATA.runs.length < 2;
  if (DATA.runs.length < 2) return;
  at("advice").textContent = DATA.advice.join(" · ");
  const head = document.createElement("tr"), body = document.createElement("tbody");
  head.append(html("th", "setting"), ...DATA.measures.map(measure => html("th", measure.title)));
  const best = DATA.measures.map((measure, i) => {
    const values = DATA.runs.map(run => run.values[i]).filter(value => value != null);
    return measure.lowerIsBetter ? Math.min(...values) : Math.max(...values);
  });
  DATA.runs.forEach((run, number) => {
    const row = document.createElement("tr");
    const name = html("td", titleOf(run) + (run.recommended ? " ★" : "")), mark = html("span", "", "mark");
    mark.style.background = COLORS[number % COLORS.length];
    name.prepend(mark);
    row.append(name, ...run.cells.map((text, i) => html("td", text, run.values[i] === best[i] && sources.size === 1 ? "best" : "")));
    row.addEventListener("click", () => select(number));
    body.append(row);
  });
  for (const [label, cells] of Object.entries(DATA.means)) {
    const row = document.createElement("tr");
    row.className = "mean";
    row.append(html("td", `mean: ${label}`), ...cells.map(text => html("td", text)));
    body.append(row);
  }
  const top = document.createElement("thead");
  top.append(head);
  at("table").replaceChildren(top, body);
  tradeoffs();
  const lines = DATA.runs.map((run, i) => ({ run, color: COLORS[i % COLORS.length] })).filter(({ run }) => run.path.error);
  if (lines.length) chart(at("all-errors"), lines.map(({ run, color }) => ({ name: titleOf(run), x: run.path.errorSeconds, y: run.path.error, color })),
    { zero: true, width: 1380, height: 260, xlabel: "time (s)", ylabel: "position error (m)" });
}

function tradeoffs() {
  const index = name => DATA.measures.findIndex(measure => measure.title === name), memory = index("stream MB");
  for (const [name, label] of [["ATE m", "ATE (m)"], ["AbsRel", "depth AbsRel"], ["frames/s", "frames per second"]]) {
    const runs = DATA.runs.map((run, i) => ({ run, i })).filter(({ run }) => run.values[index(name)] != null);
    if (!runs.length) continue;
    const place = document.createElement("div");
    at("tradeoffs").append(place);
    const dots = runs.map(({ run, i }) => ({ x: [run.values[memory]], y: [run.values[index(name)]], color: COLORS[i % COLORS.length], dots: 7 }));
    chart(place, dots, { zero: true, zeroX: true, width: 440, height: 270, xlabel: "stream memory (MB)", ylabel: label });
  }
}

function select(number) {
  const run = DATA.runs[number];
  [...at("tabs").children].forEach((tab, i) => tab.classList.toggle("on", i === number));
  [...at("table").querySelectorAll("tbody tr")].forEach((row, i) => row.classList.toggle("on", i === number));
  at("subtitle").textContent = `${run.label} · ${run.metrics.run.frames_in} frames · ${run.about.parameters.model.checkpoint || "tiny"} on ${run.about.machine.device}`;
  at("title").textContent = run.name;
  tiles(run); ways(run); errors(run); strips(run); load(run);
  at("picture").src = run.picture;
  const paths = [{ points: run.path.found, color: 0xff395cff }];
  if (run.path.truth) paths.push({ points: run.path.truth, color: 0xffe8ecf0 });
  view.show(run.cloud, paths);
  listing(at("figures"), run.metrics);
  listing(at("about"), run.about);
}

at("notes").textContent = DATA.notes.join(" · ");
if (DATA.runs.length > 1) DATA.runs.forEach((run, number) => {
  const tab = html("button", titleOf(run), run.recommended ? "best" : "");
  tab.addEventListener("click", () => select(number));
  at("tabs").append(tab);
});
compare();
select(Math.max(0, DATA.runs.findIndex(run => run.recommended)));
