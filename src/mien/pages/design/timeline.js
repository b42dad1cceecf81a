// The timeline of a face: its probabilities as stacked areas over time, images of the face along the top, the shown
// expression as a ribbon, values under the pointer, and a mark at the time that is shown elsewhere.

import { colorOf, css, percent, shown, withExpression } from "./labels.js";
import { make } from "./parts.js";
import { axisLook, keepPlot, tell } from "./plot.js";

const THUMB = 30; // CSS pixels
const RIBBON = 6;
const TOP = THUMB + RIBBON + 6;
const HEIGHT = 150;
const SHOWN = 3; // values at the pointer

/** Seconds as people read them: 1:05, 1:00:05; with tenths 1:05.0. */
export function clock(seconds, tenths = false) {
  const units = Math.round(seconds * 10);
  const [minutes, rest] = [Math.floor(units / 600), units % 600];
  const tail = String(Math.floor(rest / 10)).padStart(2, "0") + (tenths ? `.${rest % 10}` : "");
  const hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** The place of the last point at or before a time, of points in order of time; -1 for none. */
export function lastUntil(points, time) {
  let [low, high] = [-1, points.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (points[middle].time <= time) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Share of time of the shown expressions of points: "happy 80 %, unsure 20 %". Empty without points. */
export function summarize(points, unsureBelow) {
  const counts = new Map();
  for (const point of points) {
    const { name } = shown(withExpression(point), unsureBelow);
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  const most = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 3);
  return most.map(([name, count]) => `${name} ${percent(count / points.length)}`).join(", ");
}

/** Points are [{time, probabilities}] in order of time; images [{time, canvas}]. */
export class Timeline {
  #labels;
  #options;
  #plot = null;
  #view = { points: [], from: 0, to: 1, gap: 1, images: [], unsureBelow: 0 };
  #marked = null;
  #mark = make("div", "mark");
  #tip = make("div", "tip");

  /** live: times count back from the end. onPoint: called with the point under the pointer, or null. onSeek: with a time. */
  constructor(labels, { live = false, onPoint = () => {}, onSeek = null } = {}) {
    this.#labels = labels;
    this.#options = { live, onPoint, onSeek };
    this.root = make("div", onSeek ? "timeline seeks" : "timeline");
    if (!onSeek) this.root.setAttribute("role", "img");
    this.#tip.hidden = true;
    keepPlot(this.root, () => this.#build(), (plot) => this.#take(plot));
  }

  /** Shows points from `from` to `to` seconds; areas break off after `gap` seconds without a point. */
  set(view) {
    this.#view = { ...this.#view, ...view };
    this.#plot?.setData(this.#columns());
  }

  /** Marks a time in seconds, or none. */
  mark(time) {
    this.#marked = time;
    if (!this.#plot) return;
    this.#mark.hidden = time === null;
    this.#mark.style.left = `${this.#plot.valToPos(time ?? 0, "x")}px`;
  }

  /** The drawn areas, for a file. */
  get canvas() {
    return this.#plot?.ctx.canvas ?? null;
  }

  /** The point nearest to a time, or null where there is none within the gap. */
  at(time) {
    const { points, gap } = this.#view;
    const place = lastUntil(points, time);
    const away = (point) => (point ? Math.abs(point.time - time) : Infinity);
    const nearest = away(points[place + 1]) < away(points[place]) ? points[place + 1] : points[place];
    return away(nearest) <= gap ? nearest : null;
  }

  /** Times, then sums over the labels up to each: the highest is drawn first, so that each area shows its own part. */
  #columns() {
    const { points, gap } = this.#view;
    const kept = [];
    for (const point of points) {
      const before = kept.at(-1);
      if (before && point.time - before.time > gap) kept.push({ time: before.time + 1e-3, probabilities: null });
      kept.push(point);
    }
    const columns = this.#labels.map(() => []);
    for (const { probabilities } of kept) {
      let sum = 0;
      this.#labels.forEach((label, i) => columns[i].push(probabilities && (sum += probabilities[label] ?? 0)));
    }
    return [kept.map(({ time }) => time), ...columns.reverse()];
  }

  #build() {
    const { live } = this.#options;
    const words = (seconds) => (live ? (seconds === this.#view.to ? "now" : `${Math.round(seconds - this.#view.to)} s`) : clock(seconds, this.#view.to < 10));
    const series = [...this.#labels].reverse().map((label) => ({ fill: css(colorOf(label)), width: 0, points: { show: false } }));
    const axis = {
      ...axisLook(),
      size: 26,
      gap: 3,
      grid: { show: false },
      splits: live ? () => [30, 20, 10, 0].map((ago) => this.#view.to - ago) : undefined,
      space: 64,
      values: (_, splits) => splits.map(words),
    };
    const options = {
      height: HEIGHT,
      padding: [TOP, 16, 0, 20],
      cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
      scales: { x: { time: false, range: () => [this.#view.from, this.#view.to] }, y: { range: [0, 1] } },
      axes: [axis, { show: false }],
      series: [{}, ...series],
      hooks: { draw: [() => this.#drawTop()], setCursor: [() => this.#point()] },
    };
    return { options, data: this.#columns() };
  }

  #take(plot) {
    this.#plot = plot;
    plot.over.append(this.#mark, this.#tip);
    this.mark(this.#marked);
    if (this.#options.onSeek) this.#seekWith(plot.over);
  }

  #seekWith(over) {
    const seek = (event) => this.#options.onSeek(this.#plot.posToVal(event.clientX - over.getBoundingClientRect().left, "x"));
    over.addEventListener("pointerdown", (event) => {
      over.setPointerCapture(event.pointerId);
      seek(event);
    });
    over.addEventListener("pointermove", (event) => event.buttons && seek(event));
  }

  /** Shows the values under the pointer. */
  #point() {
    const { left, idx } = this.#plot.cursor;
    const point = left >= 0 && idx !== null ? this.at(this.#plot.posToVal(left, "x")) : null;
    const time = point && (this.#options.live ? `${(point.time - this.#view.to).toFixed(1)} s` : clock(point.time, true));
    const most = Object.entries(point?.probabilities ?? {}).sort((a, b) => b[1] - a[1]).slice(0, SHOWN);
    tell(this.#tip, this.#plot, time, most.map(([name, share]) => ({ style: "points", color: css(colorOf(name)), name, text: percent(share) })));
    this.#options.onPoint(point);
  }

  /** The images of the face, and the ribbon. */
  #drawTop() {
    const { ctx, bbox } = this.#plot;
    const { points, from, to, gap, images, unsureBelow } = this.#view;
    const density = ctx.canvas.width / this.root.clientWidth;
    const x = (time) => this.#plot.valToPos(time, "x", true);
    const top = bbox.top - (RIBBON + 2) * density;
    const shownPoints = points.filter((point) => point.time >= from && point.time <= to);
    shownPoints.forEach((point, i) => {
      const next = shownPoints[i + 1]?.time ?? point.time;
      ctx.fillStyle = css(shown(withExpression(point), unsureBelow).color);
      const width = next - point.time > gap ? 0 : x(next) - x(point.time);
      ctx.fillRect(x(point.time), top, Math.max(density, width + 0.5), RIBBON * density);
    });
    const side = THUMB * density;
    let free = 0;
    for (const { time, canvas } of images) {
      const left = Math.max(bbox.left, Math.min(x(time) - side / 2, bbox.left + bbox.width - side));
      if (left < free || time < from || time > to) continue;
      free = left + side + 2 * density;
      ctx.save();
      ctx.beginPath();
      ctx.roundRect(left, top - side - 2 * density, side, side, 5 * density);
      ctx.clip();
      ctx.drawImage(canvas, left, top - side - 2 * density, side, side);
      ctx.restore();
    }
  }
}
