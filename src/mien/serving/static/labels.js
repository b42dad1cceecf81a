// Expressions: colours and emoji as in mien/labels.py (a test compares them), and how predictions below the threshold are shown.

const KNOWN = {
  angry: { color: [214, 61, 57], emoji: "😠" },
  disgust: { color: [104, 142, 38], emoji: "🤢" },
  fear: { color: [142, 100, 196], emoji: "😨" },
  happy: { color: [186, 135, 0], emoji: "😀" },
  sad: { color: [52, 120, 200], emoji: "😢" },
  surprise: { color: [224, 104, 20], emoji: "😲" },
  neutral: { color: [120, 130, 140], emoji: "😐" },
  contempt: { color: [170, 110, 80], emoji: "😏" },
};
const OTHERS = [[0, 150, 136], [233, 30, 99], [63, 81, 181], [121, 85, 72]];
const UNSURE = [90, 90, 90];
const IN_COLOUR = "\ufe0f"; // else a text font may draw the emoji in black

/** The colour of a label: [red, green, blue], 0 to 255. An unknown label always gets the same one. */
export function colorOf(name) {
  if (Object.hasOwn(KNOWN, name)) return KNOWN[name].color;
  const sum = new TextEncoder().encode(name).reduce((total, byte) => total + byte, 0);
  return OTHERS[sum % OTHERS.length];
}

/** The emoji of a label, or an empty string. */
export function emojiOf(name) {
  return Object.hasOwn(KNOWN, name) ? KNOWN[name].emoji + IN_COLOUR : "";
}

/** [red, green, blue] as a CSS colour. */
export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

/** Black or white, whichever has the higher contrast ratio (WCAG 2.1) on the colour. */
export function inkOn(color) {
  const [red, green, blue] = color.map((c) => (c <= 10 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  return (luminance + 0.05) ** 2 > 1.05 * 0.05 ? "#000" : "#fff";
}

/** 0.973 as "97 %". */
export function percent(share) {
  return `${Math.round(100 * share)} %`;
}

/** Returns the most likely label of {label: probability}, and its probability. */
export function mostLikely(probabilities) {
  return Object.entries(probabilities).reduce((best, next) => (next[1] > best[1] ? next : best), ["", -1]);
}

/** How a prediction is shown: name, title, emoji, colour and text; "unsure" if its confidence is below `unsureBelow`. */
export function shown(expression, confidence, unsureBelow) {
  const unsure = confidence < unsureBelow;
  return {
    unsure,
    name: unsure ? "unsure" : expression,
    title: unsure ? `unsure (${expression})` : expression,
    emoji: unsure ? `❔${IN_COLOUR}` : emojiOf(expression),
    color: unsure ? UNSURE : colorOf(expression),
    // An unsure prediction still shows its label.
    text: unsure ? `unsure (${expression} ${percent(confidence)})` : `${expression} ${percent(confidence)}`,
  };
}
