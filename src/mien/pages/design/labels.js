// Expressions: colours as in mien/labels.py (a test compares them), emoji, their legend, and how predictions below the
// threshold are shown.

import { EMOJI } from "./emoji.js";
import { make } from "./parts.js";

const COLORS = {
  angry: [214, 61, 57],
  disgust: [104, 142, 38],
  fear: [142, 100, 196],
  happy: [186, 135, 0],
  sad: [52, 120, 200],
  surprise: [224, 104, 20],
  neutral: [120, 130, 140],
  contempt: [170, 110, 80],
};
const OTHERS = [[0, 150, 136], [233, 30, 99], [63, 81, 181], [121, 85, 72]];
const UNSURE = [90, 90, 90];

// Loaded at once: a canvas can't wait for an image. A canvas needs the size that an SVG states.
const EMOJI_IMAGES = Object.fromEntries(
  Object.entries(EMOJI).map(([name, svg]) => {
    const source = svg.replace("<svg ", "<svg width='64' height='64' ");
    return [name, Object.assign(new Image(), { src: `data:image/svg+xml,${encodeURIComponent(source)}`, alt: "" })];
  }),
);

/** The colour of a label: [red, green, blue], 0 to 255. An unknown label always gets the same one. */
export function colorOf(name) {
  if (Object.hasOwn(COLORS, name)) return COLORS[name];
  const sum = new TextEncoder().encode(name).reduce((total, byte) => total + byte, 0);
  return OTHERS[sum % OTHERS.length];
}

/** The emoji of a label, or of "unsure", as an image; null for an unknown label. */
export function emojiOf(name) {
  return Object.hasOwn(EMOJI_IMAGES, name) ? EMOJI_IMAGES[name] : null;
}

/** [red, green, blue] as a CSS colour. */
export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

/** Black or white, whichever has the higher contrast ratio (WCAG 2.1) on the colour. */
function inkOn(color) {
  const [red, green, blue] = color.map((c) => (c <= 10 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return (luminance + 0.05) ** 2 > 1.05 * 0.05 ? "#000" : "#fff";
}

/** 0.973 as "97 %". */
export function percent(share) {
  return `${Math.round(100 * share)} %`;
}

/** A face with its most likely expression and that one's confidence. */
export function withExpression(face) {
  const [expression, confidence] = Object.entries(face.probabilities).reduce((best, next) => (next[1] > best[1] ? next : best), ["", -1]);
  return { ...face, expression, confidence };
}

/** How a prediction is shown: name, title, emoji, colour and text; "unsure" if its confidence is below `unsureBelow`. */
export function shown({ expression, confidence }, unsureBelow) {
  const unsure = confidence < unsureBelow;
  const color = unsure ? UNSURE : colorOf(expression);
  return {
    unsure,
    name: unsure ? "unsure" : expression,
    title: unsure ? `unsure (${expression})` : expression,
    emoji: emojiOf(unsure ? "unsure" : expression),
    color,
    ink: inkOn(color),
    // An unsure prediction still shows its label.
    text: unsure ? `unsure (${expression} ${percent(confidence)})` : `${expression} ${percent(confidence)}`,
  };
}

/** An emoji as an element. */
export function emojiImage(image) {
  const copy = image?.cloneNode() ?? make("span");
  copy.className = "emoji";
  return copy;
}

/** Fills a list with the labels and their colours. */
export function fillLegend(list, labels) {
  list.replaceChildren(
    ...labels.map((label) => {
      const dot = make("span", "dot");
      dot.style.background = css(colorOf(label));
      return make("li", "", dot, emojiImage(emojiOf(label)), label);
    }),
  );
}
