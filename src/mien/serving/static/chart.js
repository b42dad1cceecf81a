// The chart of a face: stacked areas of its probabilities over time, a ribbon of shown expressions, and a text summary.

import { colorOf, css, mostLikely, percent, shown } from "./labels.js";
import { fitCanvas } from "./draw.js";

const RIBBON = 8; // CSS pixels
const ROOM = 3; // between areas and ribbon

/**
 * Draws points [{time, probabilities}] in order of time, from `from` to `to` seconds.
 * gap: seconds without a point after which the areas break off. cursor: a marked time in seconds; null for none.
 */
export function drawChart(canvas, points, { labels, from, to, gap, unsureBelow, cursor = null }) {
  const context = fitCanvas(canvas);
  if (!context || to <= from) return;
  const { width, height } = canvas;
  const density = width / canvas.clientWidth;
  const base = height - (RIBBON + ROOM) * density;
  const x = (time) => ((time - from) / (to - from)) * width;
  for (const stretch of stretches(points, from, to, gap)) {
    drawAreas(context, stretch, labels, x, base);
    drawRibbon(context, stretch, x, height - RIBBON * density, height, unsureBelow, density);
  }
  if (cursor !== null) {
    context.fillStyle = getComputedStyle(canvas).color;
    context.fillRect(x(cursor) - density, 0, 2 * density, height);
  }
}

/** Share of time of the shown expressions: "happy 80 %, unsure 20 %". Empty without points. */
export function summarize(points, unsureBelow) {
  const counts = new Map();
  for (const { probabilities } of points) {
    const { name } = shown(...mostLikely(probabilities), unsureBelow);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 3);
  return most.map(([name, count]) => `${name} ${percent(count / points.length)}`).join(", ");
}

function stretches(points, from, to, gap) {
  const found = [];
  let before = -Infinity;
  for (const point of points) {
    if (point.time < from - gap || point.time > to + gap) continue;
    if (point.time - before > gap) found.push([]);
    found.at(-1).push(point);
    before = point.time;
  }
  return found;
}

/** neutral is at the bottom; the others follow in the model's order. */
function drawAreas(context, stretch, labels, x, base) {
  const order = [...labels].sort((a, b) => (b === "neutral") - (a === "neutral"));
  const floor = stretch.map(() => 0);
  for (const label of order) {
    const ceiling = stretch.map((point, i) => floor[i] + (point.probabilities[label] ?? 0));
    context.beginPath();
    stretch.forEach((point, i) => context.lineTo(x(point.time), base * (1 - ceiling[i])));
    for (let i = stretch.length - 1; i >= 0; i -= 1) context.lineTo(x(stretch[i].time), base * (1 - floor[i]));
    context.fillStyle = css(colorOf(label));
    context.fill();
    ceiling.forEach((value, i) => (floor[i] = value));
  }
}

function drawRibbon(context, stretch, x, top, bottom, unsureBelow, density) {
  stretch.forEach((point, i) => {
    const next = stretch[i + 1]?.time ?? point.time;
    const look = shown(...mostLikely(point.probabilities), unsureBelow);
    context.fillStyle = css(look.color);
    context.fillRect(x(point.time), top, Math.max(density, x(next) - x(point.time) + 0.5), bottom - top);
  });
}
