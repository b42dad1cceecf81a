// Stacked areas of a face's probabilities over time, with a ribbon of what was shown beneath; and their words.

import { colorOf, css, likeliest, percent, shown } from "./labels.js";
import { fitCanvas } from "./draw.js";

const RIBBON = 8; // CSS pixels
const ROOM = 3; // between areas and ribbon

/**
 * Draws points [{time, probabilities}] in order of time, from `from` to `to` seconds.
 * gap: seconds without a point after which the areas break off. cursor: a time that is marked; null for none.
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

/** What was shown for how much of the time, as text: "happy 80 %, unsure 20 %". Empty without points. */
export function inWords(points, unsureBelow) {
  const counts = new Map();
  for (const { probabilities } of points) {
    const { name } = shown(...likeliest(probabilities), unsureBelow);
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

/** neutral lies at the bottom, the others on it in the model's order. */
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
    const look = shown(...likeliest(point.probabilities), unsureBelow);
    context.fillStyle = css(look.color);
    context.fillRect(x(point.time), top, Math.max(density, x(next) - x(point.time) + 0.5), bottom - top);
  });
}
