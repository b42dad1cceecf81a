// The line charts of reports, drawn by uPlot, with the values at the cursor or by the arrow keys.

import { make, set } from "./parts.js";
import { axisLook, keepPlot, resolved, tell } from "./plot.js";
import uPlot from "./uplot.js";

const SHOWN = 8; // lines whose values are shown at once; of more, only the nearest

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

// The values at the cursor.
function showValues(u, chart, tip, nearest) {
  const place = u.cursor.idx ?? null;
  const named = u.series.map((one, i) => [one, i]).filter(([one, i]) => one.own && (u.data[i][place] ?? null) !== null);
  const shown = named.length > SHOWN ? named.filter(([, i]) => i === nearest) : named;
  const heading = place === null ? null : chart.names[place] ?? `${chart.xLabel} ${figure(u.data[0][place])}`;
  tell(tip, u, heading, shown.map(([{ own, label }, i]) => ({ ...own, name: label, text: figure(u.data[i][place]), strong: i === nearest })));
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

function show(box) {
  const chart = JSON.parse(box.dataset.chart);
  const tip = set(make("div", "tip"), { role: "status", hidden: "" });
  const [first, last] = [chart.x[0], chart.x.at(-1)];
  const step = chart.names.length ? 0.6 : (last - first || 1) / Math.max(1, chart.x.length - 1);
  const room = chart.names.length || first === last || chart.series.some((one) => one.style === "bars") ? step / 2 : 0;
  let nearest = null;

  function build(width) {
    const { data, found, bands } = series(chart);
    const look = axisLook();
    const xs = chart.names.length
      ? categories(chart.names, width)
      : chart.xLog ? logarithmic(look.grid)
      : { size: 30, incrs: chart.whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] : undefined };
    const options = {
      height: width < 420 ? 240 : 300,
      scales: {
        x: { time: false, distr: chart.xLog ? 3 : 1, range: chart.xLog ? undefined : () => chart.xRange ?? [first - room, last + room] },
        y: { range: chart.yRange ? () => chart.yRange : undefined },
      },
      axes: [{ ...look, ...xs, label: chart.xLabel || undefined }, { ...look, label: chart.yLabel || undefined, size: 56 }],
      series: found,
      bands,
      focus: { alpha: 0.25 },
      cursor: { focus: { prox: data.length > SHOWN ? 1e3 : -1 }, drag: { x: false, y: false }, points: { size: 8 } },
      hooks: {
        draw: [(u) => marks(u, chart)],
        setCursor: [(u) => showValues(u, chart, tip, nearest)],
        setSeries: [(u, i) => { nearest = i; showValues(u, chart, tip, nearest); }],
      },
    };
    return { options, data };
  }

  keepPlot(box, build, (u) => {
    u.over.append(tip);
    box.onkeydown = (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by) return;
      event.preventDefault();
      const to = Math.min(chart.x.length - 1, Math.max(0, (u.cursor.idx ?? (by > 0 ? -1 : chart.x.length)) + by));
      u.setCursor({ left: u.valToPos(chart.x[to], "x"), top: u.over.clientHeight / 2 });
    };
  });
}

document.querySelectorAll(".plot").forEach(show);
