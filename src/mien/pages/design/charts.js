// The line charts of reports, drawn by uPlot: values at the cursor or by the arrow keys, both themes, and print.
import uPlot from "./uplot.js";

const SHOWN = 8; // lines whose values are shown at once; of more, only the nearest

const probe = document.body.appendChild(document.createElement("i"));
probe.hidden = true;

// A colour as the canvas takes it: tokens have a light and a dark value.
function resolved(colour) {
  probe.style.color = colour;
  return getComputedStyle(probe).color;
}

function figure(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return size >= 1000 ? Math.round(value).toLocaleString("en") : size && size < 0.001 ? value.toExponential(1) : String(+value.toPrecision(4));
}

// The series of uPlot: each line, and before it the two ends of its band.
function series(chart) {
  const data = [chart.x];
  const found = [{}];
  const bands = [];
  for (const one of chart.series) {
    const solid = resolved(one.color);
    const stroke = one.opacity < 1 ? `color-mix(in srgb, ${solid} ${100 * one.opacity}%, transparent)` : solid;
    if (one.low.length) {
      data.push(one.high, one.low);
      found.push({ stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } });
      bands.push({ series: [data.length - 2, data.length - 1], fill: `color-mix(in srgb, ${stroke} 16%, transparent)` });
    }
    data.push(one.values);
    const single = one.values.filter((value) => value !== null).length === 1;
    found.push({
      label: one.name,
      stroke,
      width: one.style === "points" ? 0 : 2,
      dash: one.style === "dashed" ? [5, 5] : undefined,
      paths: { points: () => null, bars: uPlot.paths.bars({ size: [0.92, 100] }) }[one.style],
      fill: one.style === "bars" ? `color-mix(in srgb, ${stroke} 55%, transparent)` : undefined,
      points: { show: one.style === "points" || single, size: 7, fill: stroke },
      spanGaps: true,
      own: one,
    });
  }
  return { data, found, bands };
}

// Marks as straight lines, and the points that stand out.
function marks(u, chart) {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.lineWidth = devicePixelRatio * 1.2;
  for (const { x, y } of chart.marks) {
    ctx.strokeStyle = resolved("var(--soft)");
    ctx.setLineDash([2 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    if (x !== null) {
      const left = u.valToPos(x, "x", true);
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
    } else {
      const top = u.valToPos(y, "y", true);
      ctx.moveTo(bbox.left, top);
      ctx.lineTo(bbox.left + bbox.width, top);
    }
    ctx.stroke();
  }
  ctx.setLineDash([]);
  u.series.forEach(({ own, stroke }, i) => {
    if (own?.marked === null || own?.marked === undefined) return;
    ctx.beginPath();
    ctx.arc(u.valToPos(u.data[0][own.marked], "x", true), u.valToPos(u.data[i][own.marked], "y", true), 5 * devicePixelRatio, 0, 7);
    ctx.fillStyle = resolved(own.color);
    ctx.strokeStyle = resolved("var(--sheet)");
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.fill();
    ctx.stroke();
  });
  ctx.restore();
}

// The box beside the cursor.
function tell(u, chart, tip, nearest) {
  const place = u.cursor.idx;
  tip.hidden = place === null || place === undefined;
  if (tip.hidden) return;
  const named = u.series.map((one, i) => [one, i]).filter(([one, i]) => one.own && u.data[i][place] !== null && u.data[i][place] !== undefined);
  const shown = named.length > SHOWN ? named.filter(([, i]) => i === nearest) : named;
  const head = document.createElement("b");
  head.textContent = chart.names.length ? chart.names[place] : `${chart.xLabel} ${figure(u.data[0][place])}`;
  const rows = shown.map(([one, i]) => {
    const row = document.createElement("div");
    const key = document.createElement("i");
    key.className = `key ${one.own.style}`;
    key.style.setProperty("--color", one.own.color);
    row.append(key, `${one.label} `, Object.assign(document.createElement("b"), { textContent: figure(u.data[i][place]) }));
    row.classList.toggle("nearest", i === nearest);
    return row;
  });
  tip.replaceChildren(head, ...rows);
  const right = u.cursor.left > u.over.clientWidth / 2;
  tip.style.left = right ? "auto" : `${u.cursor.left + 14}px`;
  tip.style.right = right ? `${u.over.clientWidth - u.cursor.left + 14}px` : "auto";
}

// A logarithmic axis has only powers of ten, and where it is short their doubles and halves.
function logarithmic(grid) {
  const filter = (u, splits) => {
    const digits = u.scales.x.max / u.scales.x.min < 100 ? [1, 2, 5] : [1];
    return splits.map((value) => (digits.includes(+value.toExponential(6).replace(/e.*/, "")) ? value : null));
  };
  const values = (_, splits) => splits.map((value) => (value === null ? "" : String(+value.toPrecision(1))));
  return { size: 30, filter, values, grid: { ...grid, filter }, ticks: { ...grid, filter } };
}

// The axis of categories: their names in lines below each other, or turned where there is no room.
function categories(names, width) {
  const letters = Math.floor((width - 60) / names.length / 6.6);
  const longest = Math.max(...names.flatMap((name) => name.split(" ")).map((word) => word.length));
  const splits = () => names.map((_, i) => i);
  if (longest > letters) {
    const most = Math.min(24, Math.max(...names.map((name) => name.length)));
    const shown = names.map((name) => name.length > most ? `${name.slice(0, most - 1)}…` : name);
    return { splits, values: () => shown, rotate: -45, size: 24 + 5 * most };
  }
  const shown = names.map((name) => name.split(" ").reduce((lines, word) => {
    const last = lines.at(-1);
    return last && last.length + word.length < letters ? [...lines.slice(0, -1), `${last} ${word}`] : [...lines, word];
  }, []).join("\n"));
  return { splits, values: () => shown, size: 16 + 16 * Math.max(...shown.map((name) => name.split("\n").length)) };
}

function plot(box) {
  const chart = JSON.parse(box.dataset.chart);
  const { data, found, bands } = series(chart);
  const ink = resolved("var(--soft)");
  const grid = { stroke: resolved("var(--line)"), width: 1 };
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  const axis = { stroke: ink, grid, ticks: grid, font, labelFont: font, labelSize: 20, labelGap: 2 };
  const tip = Object.assign(document.createElement("div"), { className: "tip", hidden: true });
  tip.setAttribute("role", "status");
  let nearest = null;
  const first = chart.x[0], last = chart.x.at(-1);
  const room = chart.names.length || first === last || chart.series.some((one) => one.style === "bars") ? 0.5 * (chart.names.length ? 0.6 : (last - first || 1) / Math.max(1, chart.x.length - 1)) : 0;
  const xs = chart.names.length
    ? categories(chart.names, box.clientWidth)
    : chart.xLog ? logarithmic(grid)
    : { size: 30, incrs: chart.whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] : undefined };
  const u = new uPlot({
    width: box.clientWidth,
    height: box.clientWidth < 420 ? 240 : 300,
    scales: {
      x: { time: false, distr: chart.xLog ? 3 : 1, range: chart.xLog ? undefined : () => chart.xRange ?? [first - room, last + room] },
      y: { range: chart.yRange ? () => chart.yRange : undefined },
    },
    axes: [{ ...axis, ...xs, label: chart.xLabel || undefined }, { ...axis, label: chart.yLabel || undefined, size: 56 }],
    series: found,
    bands,
    legend: { show: false },
    focus: { alpha: 0.25 },
    cursor: { focus: { prox: data.length > SHOWN ? 1e3 : -1 }, drag: { x: false, y: false }, points: { size: 8 } },
    hooks: {
      draw: [(self) => marks(self, chart)],
      setCursor: [(self) => tell(self, chart, tip, nearest)],
      setSeries: [(self, i) => { nearest = i; tell(self, chart, tip, nearest); }],
    },
  }, data, box);
  u.over.append(tip);
  box.onkeydown = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const to = Math.min(chart.x.length - 1, Math.max(0, (u.cursor.idx ?? (step > 0 ? -1 : chart.x.length)) + step));
    u.setCursor({ left: u.valToPos(chart.x[to], "x"), top: u.over.clientHeight / 2 });
  };
  return u;
}

const boxes = [...document.querySelectorAll(".plot")];
const plots = new Map();

function redraw() {
  for (const box of boxes) {
    plots.get(box)?.destroy();
    plots.delete(box);
    if (box.clientWidth) plots.set(box, plot(box));
  }
}

// Paper is white, whatever the theme.
addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; redraw(); });
addEventListener("afterprint", () => { delete document.documentElement.dataset.theme; redraw(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
let width = 0;
new ResizeObserver(() => {
  if (document.body.clientWidth !== width) redraw();
  width = document.body.clientWidth;
}).observe(document.body);
