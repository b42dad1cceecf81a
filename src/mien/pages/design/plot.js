// What the charts of reports and the timelines of faces share: a plot fits its box, follows the theme and the paper, and
// has a box with the values beside the cursor.

import { make } from "./parts.js";
import uPlot from "./uplot.js";

const probe = document.body.appendChild(make("i"));
probe.hidden = true;
const drawings = new Set(); // functions that draw a plot anew

/** A colour as the canvas takes it: tokens have a light and a dark value. */
export function resolved(colour) {
  probe.style.color = colour;
  return getComputedStyle(probe).color;
}

/** How axes look. */
export function axisLook() {
  const line = { stroke: resolved("var(--line)"), width: 1 };
  const font = `12px ${getComputedStyle(document.body).fontFamily}`;
  return { stroke: resolved("var(--soft)"), grid: line, ticks: line, font, labelFont: font, labelSize: 20, labelGap: 2 };
}

/** Keeps a plot in a box as wide as it is and in the colours of the theme. build(width): its {options, data}, as uPlot has them. */
export function keepPlot(box, build, onDrawn) {
  let plot = null;
  const draw = () => {
    plot?.destroy();
    if (!box.isConnected) return drawings.delete(draw);
    const { options, data } = build(box.clientWidth);
    plot = new uPlot({ ...options, width: box.clientWidth, legend: { show: false } }, data, box);
    return onDrawn(plot);
  };
  new ResizeObserver(() => {
    if (box.clientWidth && box.clientWidth !== plot?.width) drawings.add(draw) && draw();
  }).observe(box);
}

/** Shows values beside the cursor: a heading, and {style, color, name, text, strong} for each. Without a heading it hides. */
export function tell(tip, { cursor: { left }, over }, heading, values = []) {
  tip.hidden = heading === null;
  const rows = values.map(({ style, color, name, text, strong }) => {
    const key = make("i", `key ${style}`);
    key.style.setProperty("--color", color);
    return make("div", strong ? "nearest" : "", key, `${name} `, make("b", "", text));
  });
  tip.replaceChildren(make("b", "", heading ?? ""), ...rows);
  const atRight = left > over.clientWidth / 2;
  tip.style.left = atRight ? "auto" : `${left + 14}px`;
  tip.style.right = atRight ? `${over.clientWidth - left + 14}px` : "auto";
}

const drawAll = () => drawings.forEach((draw) => draw());
for (const media of ["print", "(prefers-color-scheme: dark)"]) matchMedia(media).addEventListener("change", drawAll);
new MutationObserver(drawAll).observe(document.documentElement, { attributeFilter: ["data-theme"] });
