// Draws a run: live from the server beside it (`model.live`), or from all that a report has inside.
// No build step, no framework; the charts are Apache ECharts.
"use strict";

const model = JSON.parse(document.getElementById("model").textContent);
const $ = (id) => document.getElementById(id);
const view = { run: 0, method: null, chosen: false, round: null, newest: true, axis: "round", metric: null, cost: "upload",
               colour: "class", way: "uplink", hidden: new Set() };
let shown = { round: null, fleet: null };  // what was last fetched
let lost = false;
const run = () => model.runs[view.run];
const about = () => model.about[view.run];

/* ---- numbers as people read them ---- */

const BYTES = [[1e6, "MB"]];
const FLOPS = [[1e6, "MFLOP"], [1e9, "GFLOP"], [1e12, "TFLOP"], [1e15, "PFLOP"], [1e18, "EFLOP"]];
const SECONDS = [[1, "s"], [60, "min"], [3600, "h"], [86400, "days"]];
const BITS = [[1e3, "kbit/s"], [1e6, "Mbit/s"], [1e9, "Gbit/s"]];
const SPEED = [[1e6, "MFLOP/s"], [1e9, "GFLOP/s"], [1e12, "TFLOP/s"], [1e15, "PFLOP/s"]];
const PLAIN = [[1, ""]];

// The largest unit of which there is more than one and a half.
const best = (units, largest) => [...units].reverse().find(([size]) => largest >= 1.5 * size) ?? units[0];
const digits = (value) => {
  const size = Math.abs(value);
  const decimals = size >= 1000 || value === 0 ? 0 : size >= 100 ? 1 : size >= 1 ? 2 : size >= 0.01 ? 3 : 4;
  return value.toLocaleString("en", { maximumFractionDigits: decimals });
};
const told = (units, value) => {
  if (value === null || value === undefined) return "–";
  const [size, unit] = best(units, Math.abs(value));
  return `${digits(value / size)} ${unit}`.trim();
};
const percent = (part, whole) => (whole ? `${digits((100 * part) / whole)} %` : "–");
const words = (name) => name.replaceAll("_", " ");

const COSTS = {
  round: { label: "round", units: PLAIN, of: (rows, i) => rows.round[i] + 1 },
  upload: { label: "sent by devices", units: BYTES, of: (rows, i) => rows.upload_bytes[i] },
  traffic: { label: "sent and received", units: BYTES, of: (rows, i) => rows.upload_bytes[i] + rows.download_bytes[i] },
  flops: { label: "computed", units: FLOPS, of: (rows, i) => rows.flops[i] },
  time: { label: "simulated time", units: SECONDS, of: (rows, i) => rows.simulated_s[i] },
};

/* ---- small pieces of the page ---- */

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const tip = (title, rows) =>
  `<div class="tip"><b>${escaped(title)}</b><table>${rows
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => `<tr><td>${escaped(name)}</td><td>${escaped(value)}</td></tr>`)
    .join("")}</table></div>`;

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colour = (value) => (value === "#000000" ? css("--ink") : value);  // black would be lost on a dark page
const methodOf = (name) => run().methods.find((method) => method.name === name);
const drawn = () => run().methods.filter((method) => method.name in run().losses && !view.hidden.has(method.name));
const SYMBOLS = { o: "circle", s: "rect", "^": "triangle", D: "diamond", v: "path://M0,0L10,0L5,9Z",
                  P: "path://M3,0H7V3H10V7H7V10H3V7H0V3H3Z", X: "path://M2,0L5,3L8,0L10,2L7,5L10,8L8,10L5,7L2,10L0,8L3,5L0,2Z" };
const SHAPES = { o: '<circle cx="15" cy="7" r="4"/>', s: '<rect x="11" y="3" width="8" height="8"/>',
                 "^": '<path d="M15 2.5l5 8.5h-10z"/>', D: '<path d="M15 2l5 5-5 5-5-5z"/>', v: '<path d="M15 11.5l5-8.500h-10z"/>',
                 P: '<path d="M13.200 2h3.600v3.200h3.200v3.600h-3.200v3.200h-3.600v-3.200h-3.200v-3.600h3.200z"/>',
                 X: '<path d="M11 2l4 3.500 4-3.500 1 1.500-3.500 3.500 3.500 3.500-1 1.500-4-3.500-4 3.500-1-1.500 3.500-3.500-3.500-3.500z"/>' };
const DASHES = { "-": "solid", "--": [7, 4], "-.": [8, 3, 2, 3], ":": [2, 3] };

function swatch(method) {
  const dash = DASHES[method.line] === "solid" ? "" : `stroke-dasharray="${DASHES[method.line].join(" ")}"`;
  const made = element("span", { "aria-hidden": "true" });
  made.innerHTML = `<svg viewBox="0 0 30 14" fill="${colour(method.colour)}"><path d="M0 7h30" stroke="${colour(method.colour)}" stroke-width="2" ${dash}/>${SHAPES[method.marker]}</svg>`;
  return made;
}

// A table as the server made it; where a row begins with a method's name, its mark stands before it.
function grid(data) {
  const cell = (tag, text, i) => element(tag, { class: data.left.includes(i) ? "left" : null, scope: tag === "th" ? "col" : null }, ...lines(text));
  const rows = data.rows.map((row, i) => {
    const made = element("tr", { class: data.sections.includes(i) ? "section" : null }, ...row.map((text, j) => cell("td", text, j)));
    const method = methodOf(row[0]);
    if (method) made.firstChild.prepend(swatch(method));
    return made;
  });
  const table = element("table", {}, element("thead", {}, element("tr", {}, ...data.headers.map((text, i) => cell("th", text, i)))), element("tbody", {}, ...rows));
  return [table, ...data.notes.map((note) => element("p", { class: "notes" }, note))];
}
const lines = (text) => String(text).split("\n").flatMap((line, i) => (i ? [element("br"), line] : [line]));

function segments(id, options, chosen, choose) {
  const box = $(id);
  box.querySelectorAll("label").forEach((label) => label.remove());
  for (const [value, label] of Object.entries(options)) {
    const input = element("input", { type: "radio", name: id, value, checked: value === chosen, onchange: () => choose(value) });
    box.append(element("label", {}, input, label));
  }
}

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, label]) => element("option", { value, selected: value === chosen }, label)));
  select.value = chosen ?? "";
}

function facts(list, entries) {
  list.replaceChildren(...entries.filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))));
}

/* ---- charts ---- */

const charts = new Map();
const sizes = new ResizeObserver((entries) => entries.forEach((entry) => charts.get(entry.target.id)?.resize()));

// One chart; where there is nothing to draw, a sentence stands in its place.
function draw(id, option, label, nothing = "") {
  const box = $(id);
  let chart = charts.get(id);
  if (!option) {
    chart?.dispose();
    charts.delete(id);
    sizes.unobserve(box);
    box.className = box.className.replace(" empty", "") + " empty";
    box.removeAttribute("role");
    box.style.height = "";
    box.textContent = nothing;
    return null;
  }
  if (!chart) {
    box.textContent = "";
    box.className = box.className.replace(" empty", "");
    chart = echarts.init(box, null, { renderer: "canvas" });
    charts.set(id, chart);
    sizes.observe(box);
  }
  box.setAttribute("role", "img");
  box.setAttribute("aria-label", label);
  chart.setOption({
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: css("--soft") },
    ...option,
  }, { notMerge: true });
  return chart;
}

const space = (more = {}) => ({ left: 8, right: 16, top: 30, bottom: 26, containLabel: true, ...more });
const axis = (name, more = {}) => ({
  type: "value", name, nameLocation: "middle", nameGap: 30, nameTextStyle: { color: css("--soft"), fontSize: 12 },
  axisLine: { lineStyle: { color: css("--line") } }, axisTick: { show: false },
  axisLabel: { color: css("--soft"), fontSize: 11, hideOverlap: true }, splitLine: { lineStyle: { color: css("--grid") } }, ...more,
});
// The name of a vertical axis stands above it, where it can be read without turning the head.
const upright = (name, more = {}) => axis(name, { nameLocation: "end", nameGap: 12, nameTextStyle: { color: css("--soft"), fontSize: 12, align: "left" }, axisLine: { show: false }, scale: true, ...more });

const line = (method, data, more = {}) => ({
  type: "line", name: method.name, data, color: colour(method.colour), symbol: SYMBOLS[method.marker], symbolSize: 7,
  showSymbol: data.length <= 40, lineStyle: { width: 2, type: DASHES[method.line] }, emphasis: { focus: "series" }, ...more,
});

function curve(id, sets, cost, y, units, extra = {}) {
  const { label, units: xs, of } = COSTS[cost];
  const points = drawn().filter(({ name }) => sets[name]).map((method) => {
    const rows = sets[method.name];
    return [method, rows.round.map((_, i) => [of(rows, i), y.of(rows, i), rows.round[i]]).filter((point) => point[1] !== null)];
  });
  const all = points.flatMap(([, rows]) => rows);
  if (!all.length) return draw(id, null, "", extra.nothing ?? "Nothing yet.");
  const [xSize, xUnit] = best(xs, Math.max(...all.map((point) => point[0])));
  const [ySize, yUnit] = best(units, Math.max(...all.map((point) => Math.abs(point[1]))));
  const series = points.map(([method, rows]) => line(method, rows.map(([a, b, round]) => [a / xSize, b / ySize, round])));
  if (extra.baseline !== undefined && extra.baseline !== null) {
    const along = all.map((point) => point[0] / xSize);
    series.push({ type: "line", name: extra.baselineLabel, silent: true, showSymbol: false, color: css("--soft"), lineStyle: { width: 1.2, type: [2, 3] }, z: 1,
                  data: [[Math.min(...along), extra.baseline, 0], [Math.max(...along), extra.baseline, 0]], symbolSize: 1, tooltip: { show: false },
                  markPoint: { silent: true, symbolSize: 0.1, data: [{ coord: [Math.max(...along), extra.baseline] }], label: { formatter: extra.baselineLabel, align: "right", verticalAlign: "bottom", offset: [0, -3], color: css("--soft"), fontSize: 11 } } });
  }
  const name = [label, xUnit].filter(Boolean).join(", ");
  return draw(id, {
    grid: space(),
    xAxis: axis(name, cost === "round" ? { minInterval: 1, min: "dataMin", max: "dataMax" } : { min: 0 }),
    yAxis: upright([y.label, yUnit].filter(Boolean).join(", "), extra.zero ? { min: 0 } : {}),
    tooltip: { ...theme(), trigger: "item", formatter: ({ seriesName, value }) => tip(seriesName, [["round", value[2] < 0 ? "before the first" : value[2] + 1], [y.label, `${digits(value[1])} ${yUnit}`], cost === "round" ? [] : [label, `${digits(value[0])} ${xUnit}`]].filter((row) => row.length)) },
    series,
  }, `${y.label} against ${name}: ${points.map(([method, rows]) => (rows.length ? `${method.name} ends at ${digits(rows.at(-1)[1] / ySize)} ${yUnit}` : "")).filter(Boolean).join("; ")}`);
}

const theme = () => ({ backgroundColor: css("--card"), borderColor: css("--line"), textStyle: { color: css("--ink") }, confine: true, extraCssText: "box-shadow:0 4px 18px #0002;border-radius:8px" });

function drawCurves() {
  const metric = run().metrics.find(({ key }) => key === view.metric);
  document.querySelectorAll("[data-needs=metrics]").forEach((card) => (card.hidden = !metric));
  document.querySelectorAll("[data-needs=loss]").forEach((card) => (card.hidden = run().price));
  if (metric) {
    const sets = Object.fromEntries(Object.entries(run().evals).map(([name, own]) => [name, own[metric.key]]).filter(([, rows]) => rows));
    curve("quality", sets, view.axis, { label: metric.label, of: (rows, i) => rows.value[i] }, PLAIN, { baseline: metric.baseline, baselineLabel: metric.baseline_label });
    drawTradeoff(sets, metric);
  }
  if (!run().price) curve("loss", run().losses, view.axis, { label: "training loss, nats", of: (rows, i) => rows.loss[i] }, PLAIN, { nothing: "Nothing was trained." });
  drawShares();
  const spent = COSTS[view.cost];
  curve("spent", run().losses, view.axis === "time" ? "time" : "round", { label: spent.label, of: spent.of }, spent.units, { zero: true });
}

// A row a method, a mark a group.
function dots(id, groups, unit, label, value, nothing) {
  const methods = drawn(), marks = ["circle", "rect", "diamond", "triangle"];
  if (!groups.some((group) => methods.some(({ name }) => value(name, group)))) return draw(id, null, "", nothing);
  $(id).style.height = `${92 + methods.length * (methods.length > 8 ? 19 : 26)}px`;
  const chart = draw(id, {
    grid: space({ right: 30 }), legend: legend(groups.map((group, i) => ({ name: words(group), icon: marks[i % 4] }))), xAxis: axis(`${label}, ${unit}`, { min: 0 }),
    yAxis: { type: "category", inverse: true, data: methods.map(({ name }) => name), axisTick: { show: false }, axisLine: { show: false }, splitLine: { show: true, lineStyle: { color: css("--grid") } }, axisLabel: { color: css("--soft"), fontSize: 11.5, interval: 0 } },
    tooltip: { ...theme(), formatter: ({ seriesName, value: [height, row] }) => tip(methods[row].name, [[seriesName, `${digits(height)} ${unit}`]]) },
    series: groups.map((group, i) => ({ type: "scatter", name: words(group), symbol: marks[i % 4], symbolSize: 9, color: colour(about().palette[i % about().palette.length]), itemStyle: { opacity: 0.9 },
                                        data: methods.map(({ name }, row) => [value(name, group), row]).filter(([height]) => height !== undefined) })),
  }, `${label}: ${methods.map(({ name }) => `${name} ${groups.filter((group) => value(name, group) !== undefined).map((group) => `${digits(value(name, group))} ${unit} (${words(group)})`).join(", ")}`).join("; ")}`);
  chart.resize();
  return chart;
}

function drawShares() {
  const { wasted, memory } = run(), most = Math.max(0, ...Object.values(memory).flatMap(Object.values));
  dots("wasted", Object.keys(Object.values(wasted)[0] ?? {}), "%", "wasted of what the method spent", (name, what) => 100 * wasted[name][what], "Nothing was wasted.");
  const [size, unit] = best([[1e6, "MB"], [1e9, "GB"]], most);
  dots("memory", [...new Set(Object.values(memory).flatMap(Object.keys))], unit, "most demanding stage", (name, phase) => (memory[name][phase] === undefined ? undefined : memory[name][phase] / size), "No round yet.");
}

function drawTradeoff(sets, metric) {
  const cost = view.axis === "round" ? "traffic" : view.axis, { label, units, of } = COSTS[cost];
  $("tradeoff-cost").textContent = { traffic: "bytes sent and received", upload: "bytes sent", flops: "FLOPs", time: "simulated time" }[cost];
  const points = drawn().filter(({ name }) => sets[name]?.value.length).map((method) => {
    const rows = sets[method.name], last = rows.value.length - 1;
    return [method, of(rows, last), rows.value[last]];
  });
  if (!points.length) return draw("tradeoff", null, "", "Nothing yet.");
  const [size, unit] = best(units, Math.max(...points.map((point) => point[1])));
  return draw("tradeoff", {
    grid: space({ right: 70 }), xAxis: axis(`${label}, ${unit}`, { min: 0 }), yAxis: upright(metric.label, { boundaryGap: ["14%", "14%"] }),
    tooltip: { ...theme(), formatter: ({ seriesName, value }) => tip(seriesName, [[metric.label, digits(value[1])], [label, `${digits(value[0])} ${unit}`]]) },
    series: points.map(([method, spent, value]) => ({
      type: "scatter", name: method.name, data: [[spent / size, value]], color: colour(method.colour), symbol: SYMBOLS[method.marker], symbolSize: 13,
      label: { show: true, formatter: "{a}", position: "right", color: css("--ink"), fontSize: 11.5, distance: 7 }, labelLayout: { moveOverlap: "shiftY", hideOverlap: points.length > 12 },
    })),
  }, `${metric.label} in the end against ${label}: ${points.map(([method, spent, value]) => `${method.name} ${digits(value)} for ${told(units, spent)}`).join("; ")}`);
}

/* ---- one round ---- */

const legend = (data) => ({ data, top: 0, left: 0, icon: "roundRect", itemWidth: 12, itemHeight: 8, itemGap: 14, textStyle: { color: css("--soft"), fontSize: 12 }, type: "scroll" });

function drawOutcomes() {
  const own = run().outcomes[view.method], kinds = Object.keys(own?.outcomes ?? {});
  if (!kinds.length) return draw("outcomes", null, "", "No trips yet.");
  const names = own.first.map((first, i) => (first === own.last[i] ? `${first + 1}` : `${first + 1}–${own.last[i] + 1}`));
  const lengths = own.first.map((first, i) => own.last[i] - first + 1), several = lengths.some((length) => length > 1);
  const chosen = own.last.findIndex((last) => last >= (view.round ?? 0));
  const chart = draw("outcomes", {
    grid: space({ bottom: 22 }), legend: legend(kinds.map((kind) => ({ name: words(kind) }))),
    xAxis: axis("round", { type: "category", data: names, nameGap: 24, splitLine: { show: false } }), yAxis: upright("", { scale: false }),
    tooltip: { ...theme(), trigger: "axis", axisPointer: { type: "shadow" }, formatter: (rows) => tip(`round ${rows[0].name}`, rows.map((row) => [row.seriesName, `${digits(row.value)} trips${several ? " a round" : ""}`])) },
    series: kinds.map((kind, i) => ({
      type: "bar", stack: "trips", name: words(kind), data: own.outcomes[kind].map((n, x) => n / lengths[x]), color: colour(about().outcomes[kind]), barCategoryGap: names.length > 60 ? "0%" : "18%",
      markArea: i ? undefined : { silent: true, itemStyle: { color: "transparent", borderColor: css("--ink"), borderWidth: 1.5 }, data: [[{ xAxis: chosen - 0.5 }, { xAxis: chosen + 0.5 }]] },
    })),
  }, `What became of the trips of ${view.method}, by round: ${kinds.map((kind) => `${digits(own.outcomes[kind].reduce((a, b) => a + b, 0))} ${words(kind)}`).join(", ")}`);
  chart.getZr().off("click");
  chart.getZr().on("click", ({ offsetX, offsetY }) => {
    const [i] = chart.convertFromPixel({ seriesIndex: 0 }, [offsetX, offsetY]);
    if (own.last[i] !== undefined) chooseRound(own.last[i]);
  });
  return chart;
}

const END_MARKS = { late: "diamond", dropped: "path://M2,0L5,3L8,0L10,2L7,5L10,8L8,10L5,7L2,10L0,8L3,5L0,2Z", out_of_memory: "triangle",
                    unused: "circle", failed: "rect", rejected: "pin" };  // a completed trip has no mark

function drawGantt() {
  const data = shown.round;
  if (!data || !data.trips.client.length) return draw("gantt", null, "", data ? "Nobody took part." : "No round yet.");
  const { trips } = data, count = trips.client.length, legs = Object.keys(about().legs);
  const began = data.start_s, last = Math.max(data.end_s, ...trips.end_s), first = Math.min(began, ...trips.start_s);
  const [size, unit] = best(SECONDS, last - first);
  const at = (seconds) => (seconds - began) / size;
  const label = (i) => (trips.client[i] < 0 ? trips.device[i] : innerWidth < 700 ? `${trips.client[i]}` : `${trips.client[i]} · ${trips.device[i]} · ${trips.network[i]}`);
  const thick = count <= 40 ? 0.62 : 0.9;
  const used = legs.filter((leg) => trips[`${leg}_s`].some((seconds) => seconds > 0));
  const bars = (leg) => {
    const rows = [];
    for (let i = 0; i < count; i++) {
      let from = trips.start_s[i];
      for (const before of legs.slice(0, legs.indexOf(leg))) from += trips[`${before}_s`][i];
      const to = Math.min(from + trips[`${leg}_s`][i], Math.max(trips.end_s[i], from));
      if (to > from) rows.push([at(from), at(to), i]);
    }
    return rows;
  };
  const lost_ = (i) => trips.outcome[i] !== "completed";
  const block = (fill) => (params, api) => {
    const [x0, y] = api.coord([api.value(0), api.value(2)]), [x1] = api.coord([api.value(1), api.value(2)]);
    const high = Math.max(1, api.size([0, 1])[1] * thick);
    return { type: "rect", shape: { x: x0, y: y - high / 2, width: Math.max(x1 - x0, 0.6), height: high }, style: { fill, opacity: lost_(api.value(2)) ? 0.5 : 1 } };
  };
  const thread = (params, api) => {
    const [x0, y] = api.coord([api.value(0), api.value(2)]), [x1] = api.coord([api.value(1), api.value(2)]);
    return { type: "rect", shape: { x: x0, y: y - 0.5, width: Math.max(x1 - x0, 0.5), height: 1 }, style: { fill: css("--none") } };
  };
  const spans = [...Array(count).keys()].map((i) => [at(trips.start_s[i]), at(trips.end_s[i]), i]);
  const series = [{ type: "custom", progressive: 0, name: "trip", renderItem: thread, data: spans, encode: { x: [0, 1], y: 2 }, z: 1,
                    markLine: { silent: true, symbol: "none", data: [{ xAxis: at(data.end_s) }], lineStyle: { color: css("--ink"), type: [4, 3], width: 1 }, label: { formatter: "round closes", position: "start", distance: [0, 4], align: "right", verticalAlign: "bottom", offset: [-4, -16], color: css("--ink"), fontSize: 11 } } }];
  for (const leg of used) series.push({ type: "custom", progressive: 0, name: words(leg), renderItem: block(about().legs[leg]), color: about().legs[leg], data: bars(leg), encode: { x: [0, 1], y: 2 }, z: 2 });
  for (const kind of Object.keys(about().outcomes)) {
    const rows = kind === "completed" ? [] : spans.filter(([, , i]) => trips.outcome[i] === kind).map(([, end, i]) => [end, i, i]);
    if (rows.length) series.push({ type: "scatter", name: words(kind), symbol: END_MARKS[kind], symbolSize: count > 80 ? 4 : 9, color: css("--ink"), data: rows, z: 3,
                                   itemStyle: { borderColor: css("--card"), borderWidth: count > 80 ? 0 : 1.2 } });
  }
  $("gantt").style.height = `${Math.max(190, Math.min(680, 90 + count * 17))}px`;
  const chart = draw("gantt", {
    grid: space({ top: 52, right: 26 }), legend: legend(series.slice(1).map(({ name, type }) => ({ name, icon: type === "scatter" ? END_MARKS[Object.keys(END_MARKS).find((kind) => words(kind) === name)] : "rect" }))),
    xAxis: axis(`since the round began, ${unit}`, { min: Math.min(0, at(first)), max: at(last) * 1.015, axisLabel: { color: css("--soft"), fontSize: 11, showMaxLabel: false, showMinLabel: first >= began, formatter: digits } }),
    yAxis: { type: "category", inverse: true, data: spans.map((_, i) => label(i)), axisTick: { show: false }, axisLine: { show: false }, axisLabel: { show: count <= 40, color: css("--soft"), fontSize: 11, interval: 0, width: 230, overflow: "truncate" } },
    tooltip: { ...theme(), formatter: ({ value }) => tripTip(trips, value[2]) },
    series,
  }, `${count} trips of round ${data.round + 1} of ${data.method}: ${Object.entries(data.outcomes).map(([kind, n]) => `${n} ${words(kind)}`).join(", ")}; the round took ${told(SECONDS, data.end_s - data.start_s)}`);
  chart.resize();
  return chart;
}

function tripTip(trips, i) {
  return tip(trips.client[i] < 0 ? trips.device[i] : `client ${trips.client[i]}: ${trips.device[i]}, ${trips.network[i]}`, [
    ["outcome", words(trips.outcome[i]) + (trips.cause[i] ? `: ${trips.cause[i]}` : "")],
    ...Object.keys(about().legs).filter((leg) => trips[`${leg}_s`][i] > 0).map((leg) => [leg, told(SECONDS, trips[`${leg}_s`][i])]),
    ["received", told(BYTES, trips.download_bytes[i])], ["sent", told(BYTES, trips.upload_bytes[i])],
    ["computed", told(FLOPS, trips.flops_forward[i] + trips.flops_backward[i])], ["energy", told([[1, "J"], [1e3, "kJ"], [1e6, "MJ"]], trips.energy_j[i])],
    ["model’s age", trips.staleness[i] ? `${trips.staleness[i]} steps` : null], ["loss", trips.loss[i] === null ? null : digits(trips.loss[i])],
  ]);
}

function drawRound() {
  drawOutcomes();
  drawGantt();
  const data = shown.round;
  $("gantt-title").textContent = data ? `round ${data.round + 1} of ${data.method}` : "the round";
  $("round-facts").textContent = !data ? "" : [
    words(data.phase), `${digits(data.cohort)} trips: ${Object.entries(data.outcomes).map(([kind, n]) => `${digits(n)} ${words(kind)}`).join(", ")}`,
    `${told(BYTES, data.sums.download_bytes)} received`, `${told(BYTES, data.sums.upload_bytes)} sent`,
    told(FLOPS, data.sums.flops_forward + data.sums.flops_backward), `took ${told(SECONDS, data.end_s - data.start_s)}`,
    data.trips.client.length < data.cohort ? `${digits(data.trips.client.length)} trips are drawn, at equal distances in the order of their ends` : null,
  ].filter(Boolean).join(" · ");
}

/* ---- stages and fleet ---- */

function drawStages() {
  const data = run().stages[view.method];
  if (!data?.first.length) return draw("stages", null, "", "No round yet.");
  const named = (x) => (data.first[x] === data.last[x] ? `round ${data.first[x] + 1}` : `rounds ${data.first[x] + 1}–${data.last[x] + 1}`);
  const cells = data.share.flatMap((row, y) => row.map((share, x) => [data.first[x] + 0.5, data.last[x] + 1.5, y, share, x]));
  const phases = data.phase.map((phase, x) => [phase, data.first[x]]).filter(([phase], x) => x === 0 || data.phase[x - 1] !== phase);
  const fill = colour(methodOf(view.method).colour), whole = rounds(methodOf(view.method));
  $("stages").style.height = `${Math.min(560, 84 + data.groups.length * (data.groups.length > 14 ? 17 : 24))}px`;
  const chart = draw("stages", {
    grid: space(), xAxis: axis("round", { min: 0.5, max: Math.max(whole, data.last.at(-1) + 1) + 0.5, splitLine: { show: false }, minInterval: 1, axisLabel: { color: css("--soft"), fontSize: 11, showMinLabel: false, showMaxLabel: false } }),
    yAxis: { type: "category", data: data.groups.map((group) => group.replace(".", " ")), axisTick: { show: false }, axisLine: { show: false }, axisLabel: { color: css("--soft"), fontSize: 11.5, interval: 0 } },
    tooltip: { ...theme(), formatter: ({ value: [, , y, share, x] }) => tip(`${data.groups[y].replace(".", " ")}, ${named(x)}`, [["changed in", `${digits(100 * share)} % of ${data.first[x] === data.last[x] ? "the round" : "these rounds"}`], ["phase", words(data.phase[x])], ["stage trains", data.stage[x]]]) },
    series: [{
      type: "custom", progressive: 0, data: cells, encode: { x: [0, 1], y: 2 }, itemStyle: { color: fill },
      renderItem: (params, api) => {
        const [x0, y] = api.coord([api.value(0), api.value(2)]), [x1] = api.coord([api.value(1), api.value(2)]), [, height] = api.size([1, 1]), share = api.value(3);
        const gap = x1 - x0 > 8 ? 1.5 : 0;
        return { type: "rect", shape: { x: x0 + gap / 2, y: y - height / 2 + 1.5, width: x1 - x0 - gap + (gap ? 0 : 0.4), height: height - 3, r: gap ? 2 : 0 }, style: { fill: share ? fill : css("--grid"), opacity: share ? 0.25 + 0.75 * share : 1 } };
      },
      markLine: { silent: true, symbol: "none", lineStyle: { color: css("--ink"), type: [2, 3], width: 1 }, label: { position: "end", align: "left", color: css("--soft"), fontSize: 11, formatter: ({ name }) => name },
                  data: phases.map(([phase, first]) => ({ name: words(phase), xAxis: first + 0.5 })) },
    }],
  }, `Groups of the global model that ${view.method} changes, by round, from ${data.groups[0]} to ${data.groups.at(-1)}`);
  chart.resize();
  return chart;
}

const SPREAD = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"];  // viridis

function drawFleet() {
  const data = shown.fleet;
  if (!data || data.error) {
    for (const id of ["fleet", "class-outcomes", "class-legs"]) draw(id, null, "", data?.error ?? "No trips yet.");
    return;
  }
  const { points } = data, bits = points[`${view.way}_bits_per_s`], count = points.client.length;
  const [xSize, xUnit] = best(SPEED, median(points.flops_per_s)), [ySize, yUnit] = best(BITS, median(bits));
  const worth = { trips: (i) => points.trips[i], late: (i) => (points.trips[i] ? (100 * points.late[i]) / points.trips[i] : null) }[view.colour];
  const row = (i) => [points.flops_per_s[i] / xSize, bits[i] / ySize, worth ? worth(i) : 0, i];
  const all = [...Array(count).keys()], names = data.devices;
  const apart = worth ? [["took part", all.filter((i) => points.trips[i] > 0)], ["never took part", all.filter((i) => !points.trips[i])]]
                      : names.map((name, code) => [name, all.filter((i) => points.device[i] === code)]);
  const groups = apart.filter(([, own]) => own.length);
  const most = worth ? Math.max(1, ...all.map((i) => worth(i) ?? 0)) : 1;
  $("fleet-hint").textContent = `${count < data.clients ? `${digits(count)} of ${data.clients.toLocaleString("en")}, drawn at random` : digits(data.clients)}; ${data.took_part.toLocaleString("en")} took part under ${data.method}`;
  draw("fleet", {
    grid: space({ left: 26, right: worth ? 64 : 16 }), legend: legend(groups.map(([name]) => ({ name }))),
    xAxis: axis(`compute, ${xUnit}`, { type: "log", axisLabel: { color: css("--soft"), fontSize: 11, formatter: digits } }),
    yAxis: axis(`${view.way}, ${yUnit}`, { type: "log", nameGap: 38, axisLine: { show: false }, axisLabel: { color: css("--soft"), fontSize: 11, formatter: digits } }),
    visualMap: worth ? [{ type: "continuous", dimension: 2, min: 0, max: most, seriesIndex: 0, right: 0, top: "middle", itemHeight: 110, itemWidth: 10, text: [`${digits(most)}${view.colour === "late" ? " %" : ""}`, "0"], textStyle: { color: css("--soft"), fontSize: 11 }, inRange: { color: SPREAD } }] : [],
    tooltip: { ...theme(), formatter: ({ value: [, , , i] }) => tip(`client ${points.client[i]}: ${data.devices[points.device[i]]}, ${data.networks[points.network[i]]}`, [["compute", told(SPEED, points.flops_per_s[i])], ["downlink", told(BITS, points.downlink_bits_per_s[i])], ["uplink", told(BITS, points.uplink_bits_per_s[i])], ["memory", told([[1e6, "MB"], [1e9, "GB"]], points.memory_bytes[i])], ["trips", digits(points.trips[i])], ["late", points.trips[i] ? percent(points.late[i], points.trips[i]) : null]]) },
    series: groups.map(([name, own], i) => ({
      type: "scatter", name, data: own.map(row), symbolSize: count > 800 ? 4 : 7, z: worth && i ? 1 : 2,
      color: worth ? (name === "never took part" ? css("--none") : SPREAD[2]) : colour(about().palette[i % about().palette.length]), itemStyle: { opacity: count > 800 ? 0.6 : 0.8 },
    })),
  }, `${digits(count)} devices by computing speed and ${view.way}: ${groups.map(([name, own]) => `${digits(own.length)} ${name}`).join(", ")}`);
  drawClasses(data);
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1] ?? 0;

function drawClasses(data) {
  const classes = data.classes, rows = classes.map(({ device }) => device);
  if (!rows.length) {
    for (const id of ["class-outcomes", "class-legs"]) draw(id, null, "", "No trips yet.");
    return;
  }
  const names = { type: "category", inverse: true, data: rows, axisTick: { show: false }, axisLine: { show: false }, axisLabel: { color: css("--soft"), fontSize: 11.5, interval: 0 } };
  const stacked = (id, x, keys, value, colours, show, label) => {
    $(id).style.height = `${Math.max(180, 110 + rows.length * 34)}px`;
    draw(id, {
      grid: space({ top: 34 }), legend: legend(keys.map((key) => ({ name: words(key) }))), xAxis: x, yAxis: names,
      tooltip: { ...theme(), trigger: "axis", axisPointer: { type: "shadow" }, formatter: (found) => tip(found[0].name, found.filter((one) => one.value).map((one) => [one.seriesName, show(one.value, classes[one.dataIndex], keys[one.seriesIndex])])) },
      series: keys.map((key) => ({ type: "bar", stack: "all", name: words(key), color: colour(colours[key]), barMaxWidth: 22, data: classes.map((own) => value(own, key)) })),
    }, label).resize();
  };
  const kinds = Object.keys(about().outcomes).filter((kind) => classes.some((own) => own.outcomes[kind]));
  stacked("class-outcomes", axis("share of trips, %", { max: 100 }), kinds, (own, kind) => (100 * (own.outcomes[kind] ?? 0)) / own.trips, about().outcomes,
       (value, own, kind) => `${digits(value)} % (${digits(own.outcomes[kind])} trips)`, `Outcomes by device class: ${classes.map((own) => `${own.device} ${kinds.map((kind) => `${percent(own.outcomes[kind] ?? 0, own.trips)} ${words(kind)}`).join(", ")}`).join("; ")}`);
  const legs = Object.keys(about().legs).filter((leg) => classes.some((own) => own.seconds[`${leg}_s`] > 0));
  const [size, unit] = best(SECONDS, Math.max(...classes.map((own) => Object.values(own.seconds).reduce((a, b) => a + b, 0) / own.trips)));
  stacked("class-legs", axis(`mean of a trip, ${unit}`), legs, (own, leg) => own.seconds[`${leg}_s`] / own.trips / size, about().legs, (value) => `${digits(value)} ${unit}`,
       `Mean time of a trip by device class: ${classes.map((own) => `${own.device} ${legs.map((leg) => `${told(SECONDS, own.seconds[`${leg}_s`] / own.trips)} ${leg}`).join(", ")}`).join("; ")}`);
}

/* ---- text around the charts ---- */

const STATES = { running: "running", stopped: "stopped before its end", ended: "ended", lost: "server gone; trying again" };

function tellHeader() {
  const { name, summary, folder, seed, clients, state, price, methods } = run();
  document.title = `${name} · fedsim`;
  $("name").textContent = name;
  $("summary").textContent = summary;
  const begun = methods.filter((method) => method.rounds), now = begun.filter((method) => !method.ended).at(-1);
  const kind = lost ? "lost" : state;
  $("state").dataset.is = kind;
  const waiting = !begun.length && kind !== "ended" ? "; no round is over yet" : "";
  $("state").textContent = STATES[kind] + (kind === "running" && now ? `: ${now.name}, ${place(now)}` : "") + waiting;
  facts($("facts"), [["run", folder], ["devices", clients.toLocaleString("en")], ["seed", seed], ["mode", price ? "prices only, nothing is trained" : null], ["fingerprint", about().fingerprint.slice(0, 12)]]);
}

const rounds = (method) => method.planned.reduce((sum, phase) => sum + phase.rounds, 0);
const place = (method) => `round ${digits(method.rounds)} of ${digits(rounds(method))}`;

function tellMethods() {
  $("methods").replaceChildren(...run().methods.map((method) => {
    const whole = rounds(method), phase = [...method.planned].reverse().find((one) => one.first_round < Math.max(method.rounds, 1));
    const fill = element("i");
    fill.style.width = `${(100 * method.rounds) / whole}%`;
    fill.style.background = colour(method.colour);
    return element("button", { type: "button", class: "tile", "aria-pressed": String(!view.hidden.has(method.name)), onclick: () => toggle(method.name) },
      swatch(method), element("b", {}, method.name), element("span", {}, ""),
      element("small", {}, method.rounds ? `${place(method)}${phase && !method.ended ? ` · ${words(phase.name)}` : ""}` : `${digits(whole)} rounds to come`), element("span", { class: "bar", "aria-hidden": "true" }, fill));
  }));
  $("table").hidden = !run().table;
  if (run().table) $("table").replaceChildren(...grid(run().table));
  if (run().stage_table) $("stage-table").replaceChildren(...grid(run().stage_table));
}

function toggle(name) {
  if (!view.hidden.delete(name)) view.hidden.add(name);
  tellMethods();
  drawCurves();
}

function tellAbout() {
  const { scenario, versions, fingerprint, machine, base, command, glossary } = about();
  $("scenario").textContent = scenario;
  const packages = Object.entries(versions).map(([name, version]) => `${name === "fedsim" ? "fedsim-ray" : name}==${version}`).filter((text) => !text.startsWith("python="));
  facts($("fingerprint"), [["scenario and options, sha256", fingerprint], ...Object.entries(versions), ...Object.entries(machine ?? { machine: "not written down when this run was made" }), ["paths are relative to", base]]);
  const save = element("a", { href: URL.createObjectURL(new Blob([scenario], { type: "text/yaml" })), download: `${run().name}.yaml` }, `${run().name}.yaml`);
  $("again").replaceChildren(
    element("p", {}, "Save ", save, " in ", element("code", {}, base), " (paths in it are relative to that folder), then:"),
    element("p", {}, element("code", {}, `pip install ${packages.join(" ")}`)), element("p", {}, element("code", {}, command)),
    element("p", { class: "hint" }, `Python ${versions.python}. The same scenario, seed and versions give the same trace bit for bit, whatever the engine and the number of hosts.`));
  $("glossary").replaceChildren(...glossary.flatMap(({ table, meaning, columns }) => [
    element("h3", {}, table), element("p", { class: "hint" }, meaning),
    element("div", { class: "scroll" }, element("table", { class: "wrap" }, element("tbody", {}, ...columns.map(([name, unit, text]) =>
      element("tr", {}, element("td", { class: "left" }, name), element("td", { class: "left" }, unit), element("td", {}, text.replaceAll("`", "")))))))]));
}

/* ---- choosing ---- */

const available = () => (model.live ? null : Object.keys(model.rounds[view.run][view.method] ?? {}).map(Number));

function tellChoices() {
  const begun = run().methods.filter((method) => method.rounds).map(({ name }) => name);
  if (!begun.includes(view.method) || (view.newest && !view.chosen)) view.method = begun.at(-1) ?? null;
  if (!run().metrics.some(({ key }) => key === view.metric))
    view.metric = widest(run().metrics.filter(({ headline }) => headline)) ?? widest(run().metrics);
  options($("metric"), run().metrics.map(({ key, label, phase }) => [key, `${label} · ${words(phase)}`]), view.metric);
  options($("method"), begun.map((name) => [name, name]), view.method);
  options($("cost"), Object.entries(COSTS).filter(([key]) => key !== "round").map(([key, { label }]) => [key, label]), view.cost);
  options($("run"), model.runs.map(({ folder, seed }, i) => [String(i), `${folder} (seed ${seed})`]), String(view.run));
  document.querySelectorAll(".of-method").forEach((place_) => (place_.textContent = view.method ?? "the method"));
  const slider = $("round"), given = available();
  const newest = view.method ? (run().losses[view.method].round.at(-1) ?? null) : null;
  if (view.newest || view.round === null || view.round > newest) view.round = given ? (given.at(-1) ?? null) : newest;
  if (given && !given.includes(view.round)) view.round = given.at(-1) ?? null;
  slider.max = String(Math.max(0, given ? given.length - 1 : newest ?? 0));
  slider.value = String(given ? given.indexOf(view.round) : view.round ?? 0);
  slider.setAttribute("aria-valuetext", view.round === null ? "none" : `round ${view.round + 1}`);
  $("round-number").textContent = view.round === null ? "" : `${digits(view.round + 1)} of ${digits((newest ?? 0) + 1)}`;
  $("before").disabled = Number(slider.value) <= 0;
  $("after").disabled = Number(slider.value) >= Number(slider.max);
  $("newest").checked = view.newest;
}

// The metric that most methods have; of several, the last one.
function widest(metrics) {
  const methods = ({ key }) => Object.values(run().evals).filter((own) => own[key]).length;
  return metrics.reduce((best_, metric) => (best_ === null || methods(metric) >= methods(best_) ? metric : best_), null)?.key ?? null;
}

function chooseRound(round) {
  const given = available();
  view.newest = false;
  view.round = given ? given.reduce((near, one) => (Math.abs(one - round) < Math.abs(near - round) ? one : near)) : round;
  tellChoices();
  fetchRound();
}

/* ---- data ---- */

async function asked(path, tag) {
  const answer = await fetch(path, { cache: "no-store", headers: tag ? { "If-None-Match": `"${tag}"` } : {} });
  return answer.status === 304 ? null : answer.json();
}

async function fetchRound() {
  if (view.method === null || view.round === null) shown.round = null;
  else if (!model.live) shown.round = model.rounds[view.run][view.method][view.round];
  else {
    const wanted = `${view.method}/${view.round}`;
    const found = await asked(`data/round/${encodeURIComponent(view.method)}/${view.round}`);
    if (wanted !== `${view.method}/${view.round}`) return;  // another one was chosen meanwhile
    shown.round = found.error ? null : found;
  }
  drawRound();
}

async function fetchFleet() {
  if (view.method === null) shown.fleet = null;
  else if (!model.live) shown.fleet = inside(model.fleets[view.run], view.method);
  else {
    const method = view.method, found = await asked(`data/fleet/${encodeURIComponent(method)}`);
    if (method !== view.method) return;
    shown.fleet = found;
  }
  drawFleet();
}

// A report has the devices once for all methods.
function inside(fleet, method) {
  if (fleet.error) return fleet;
  const own = fleet.methods[method];
  return { ...fleet.all, ...own, points: { ...fleet.all.points, ...own.points } };
}

function tellAll() {
  tellHeader();
  tellMethods();
  tellChoices();
}

async function drawAll() {
  tellAll();
  drawCurves();
  drawStages();
  await Promise.all([fetchRound(), fetchFleet()]);
}

async function look() {
  let wait = 4000;
  try {
    const found = document.hidden ? null : await asked("data/run", run().version);
    const back = lost;
    lost = false;
    if (found?.error) trouble(found.error);
    else if (found) {
      trouble("");
      model.runs[0] = found;
      await drawAll();
    } else if (back) tellHeader();
    if (run().state === "running") wait = 1000;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;  // fetch says so when the server is gone
    lost = true;
    tellHeader();
  } finally {
    setTimeout(look, wait);
  }
}

function trouble(text) {
  $("trouble").hidden = !text;
  $("trouble").textContent = text;
}

/* ---- beginning ---- */

function wire() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const dress = (theme_) => (document.documentElement.dataset.theme = theme_);
  dress(dark.matches ? "dark" : "light");
  const redraw = () => { tellAll(); if (window.echarts) { drawCurves(); drawStages(); drawRound(); drawFleet(); drawTogether(); } };
  dark.addEventListener("change", () => { dress(dark.matches ? "dark" : "light"); redraw(); });
  $("theme").addEventListener("click", () => { dress(document.documentElement.dataset.theme === "dark" ? "light" : "dark"); redraw(); });
  document.querySelectorAll(".only-live").forEach((part) => (part.hidden = !model.live));
  document.querySelectorAll(".only-many").forEach((part) => (part.hidden = model.runs.length < 2));
  segments("axis", Object.fromEntries(Object.entries(COSTS).map(([key, { label }]) => [key, key === "flops" ? "FLOPs" : label])), view.axis, (value) => { view.axis = value; drawCurves(); drawTogether(); });
  segments("colouring", { class: "device class", trips: "trips", late: "share late" }, view.colour, (value) => { view.colour = value; drawFleet(); });
  segments("direction", { uplink: "uplink", downlink: "downlink" }, view.way, (value) => { view.way = value; drawFleet(); });
  $("metric").addEventListener("change", (event) => { view.metric = event.target.value; drawCurves(); });
  $("cost").addEventListener("change", (event) => { view.cost = event.target.value; drawCurves(); });
  $("run").addEventListener("change", (event) => { view.run = Number(event.target.value); view.round = null; tellAbout(); drawAll(); });
  $("method").addEventListener("change", (event) => { view.method = event.target.value; view.chosen = true; view.round = null; tellChoices(); drawStages(); fetchRound(); fetchFleet(); });
  const step = (by) => { const given = available(), now = Number($("round").value) + by; chooseRound(given ? given[now] : now); };
  $("round").addEventListener("input", () => step(0));
  $("before").addEventListener("click", () => step(-1));
  $("after").addEventListener("click", () => step(1));
  $("newest").addEventListener("change", (event) => { view.newest = event.target.checked; view.chosen = false; tellChoices(); drawStages(); fetchRound(); fetchFleet(); });
}

// Means of runs with different seeds; a bar is as long as their standard deviation each way.
function drawTogether() {
  const data = model.together;
  $("together").hidden = !data;
  if (!data) return;
  $("together-table").replaceChildren(...grid(data.table));
  const cost = view.axis === "round" ? "traffic" : view.axis, { label, units } = COSTS[cost];
  $("together-cost").textContent = label;
  if (!data.points.length) return draw("together-chart", null, "", "Nothing was evaluated.");
  const [size, unit] = best(units, Math.max(...data.points.map(({ costs }) => costs[cost].mean)));
  const whisker = (params, api) => {
    const [x, y] = api.coord([api.value(0), api.value(1)]), [left] = api.coord([api.value(0) - api.value(2), 0]), [, top] = api.coord([0, api.value(1) + api.value(3)]);
    const line_ = (x1, y1, x2, y2) => ({ type: "line", shape: { x1, y1, x2, y2 }, style: { stroke: api.visual("color"), lineWidth: 1.5 } });
    return { type: "group", children: [line_(left, y, 2 * x - left, y), line_(x, top, x, 2 * y - top)] };
  };
  const spread = ({ mean, deviation, n }, scale, text) => `${digits(mean / scale)}${deviation === null ? "" : ` ± ${digits(deviation / scale)}`} ${text}${n > 1 ? ` (n = ${n})` : ""}`;
  const heights = data.points.flatMap(({ value }) => [value.mean - (value.deviation ?? 0), value.mean + (value.deviation ?? 0)]), room = 0.08 * (Math.max(...heights) - Math.min(...heights)) || 0.01;
  return draw("together-chart", {
    grid: space({ right: 90 }), xAxis: axis(`${label}, ${unit}`, { min: 0 }),
    yAxis: upright(data.metric, { min: Math.min(...heights) - room, max: Math.max(...heights) + room, axisLabel: { color: css("--soft"), fontSize: 11, formatter: digits, showMinLabel: false, showMaxLabel: false } }),
    tooltip: { ...theme(), formatter: ({ dataIndex, seriesIndex }) => { const one = data.points[seriesIndex >> 1]; return tip(one.label, [[data.metric, spread(one.value, 1, "")], [label, spread(one.costs[cost], size, unit)]]); } },
    series: data.points.flatMap(({ label: name, colour: fill, marker, value, costs }) => {
      const at = [costs[cost].mean / size, value.mean], away = [(costs[cost].deviation ?? 0) / size, value.deviation ?? 0];
      return [{ type: "custom", name, renderItem: whisker, data: [[...at, ...away]], color: colour(fill), encode: { x: 0, y: 1 } },
              { type: "scatter", name, data: [at], color: colour(fill), symbol: SYMBOLS[marker], symbolSize: 12, label: { show: true, formatter: "{a}", position: [14, -13], color: css("--ink"), fontSize: 11.5 }, labelLayout: { moveOverlap: "shiftY", hideOverlap: data.points.length > 12 } }];
    }),
  }, `${data.metric} against ${label}, means of runs: ${data.points.map(({ label: name, value, costs }) => `${name} ${spread(value, 1, "")} for ${spread(costs[cost], size, unit)}`).join("; ")}`);
}

wire();
view.newest = model.live;
tellAll();
tellAbout();
addEventListener("load", async () => {  // the charts' library is there
  drawTogether();
  await drawAll();
  performance.mark("fedsim-drawn");
  document.body.dataset.drawn = "";
  if (model.live) look();
});
