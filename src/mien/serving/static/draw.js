// Draws boxes and labels of faces on a canvas of any size, for the page and for downloads.

import { css, inkOn, shown } from "./labels.js";

const FONT = "system-ui, sans-serif";

/**
 * Draws faces: [{box: [x1, y1, x2, y2], expression, confidence, number}]; number defaults to the place in the list, from 1.
 * scale: from the image's pixels to the canvas's. plate: a label's height in pixels of the canvas. unsureBelow: 0 to
 * 1. chosen: the index of the highlighted face. mirrorWidth: the image's width, to swap left and right; 0 for no.
 * badges: adds an emoji, and a number if there are several faces.
 */
export function drawFaces(context, faces, { scale, plate, unsureBelow, chosen = -1, mirrorWidth = 0, badges = false }) {
  const looks = faces.map((face) => ({
    ...shown(face.expression, face.confidence, unsureBelow),
    box: onCanvas(face.box, scale, mirrorWidth),
  }));
  const line = Math.max(2, plate / 8);
  context.font = fontOf(plate);
  const crowded = isCrowded(context, looks);
  looks.forEach((look, index) => drawBox(context, look, line, index === chosen));
  const taken = [];
  // The most confident labels get the best places; the chosen one is drawn last.
  const order = looks.map((_, index) => index).sort((a, b) => faces[b].confidence - faces[a].confidence);
  for (const index of order.filter((i) => i !== chosen).concat(chosen >= 0 ? [chosen] : [])) {
    const { text, emoji, box } = looks[index];
    const short = crowded && index !== chosen;
    const number = faces[index].number || index + 1;
    const whole = badges ? `${faces.length > 1 ? `${number} ` : ""}${emoji} ${text}` : text;
    const label = short ? `${number} ${emoji}` : whole;
    const others = looks.filter((look) => look.box !== box).map((look) => look.box);
    drawPlate(context, looks[index], label, short ? 0.75 * plate : plate, taken, others);
  }
}

/** The index of the smallest face at a point, in pixels of the image; -1 for none. */
export function faceAt(faces, x, y) {
  let found = -1;
  let least = Infinity;
  faces.forEach(({ box: [x1, y1, x2, y2] }, index) => {
    const area = (x2 - x1) * (y2 - y1);
    if (x >= x1 && x <= x2 && y >= y1 && y <= y2 && area < least) [found, least] = [index, area];
  });
  return found;
}

/** Fits a canvas's pixels to its size on the page. Returns its cleared context, or null while it has no size. */
export function fitCanvas(canvas) {
  const density = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * density);
  const height = Math.round(canvas.clientHeight * density);
  if (!width || !height) return null;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** The image with its faces, at full size, as a canvas to be saved. source: as for drawImage. */
export function annotated(source, width, height, faces, options) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.drawImage(source, 0, 0, width, height);
  const plate = Math.max(15, 4 + 0.028 * Math.sqrt(width * height));
  drawFaces(context, faces, { ...options, scale: options.scale ?? 1, plate });
  return canvas;
}

function onCanvas([x1, y1, x2, y2], scale, mirrorWidth) {
  const [left, right] = mirrorWidth ? [mirrorWidth - x2, mirrorWidth - x1] : [x1, x2];
  return { x: left * scale, y: y1 * scale, width: (right - left) * scale, height: (y2 - y1) * scale };
}

function drawBox(context, { box, color, unsure }, line, chosen) {
  const stroke = (width, style) => {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.strokeRect(box.x, box.y, box.width, box.height);
  };
  context.save();
  stroke(line * (chosen ? 2.6 : 1.6), chosen ? "#fff" : "rgb(0 0 0 / .6)"); // a rim makes it visible on any image
  if (unsure) context.setLineDash([line * 4, line * 3]);
  stroke(line * (chosen ? 1.4 : 1), css(color));
  context.restore();
}

function drawPlate(context, { box, color }, label, height, taken, others) {
  const { width: canvasWidth, height: canvasHeight } = context.canvas;
  const padding = height * 0.3;
  context.font = fontOf(height);
  const width = context.measureText(label).width + 2 * padding;
  const x = Math.max(0, Math.min(box.x, canvasWidth - width));
  const above = box.y - height;
  const below = box.y + box.height;
  const rows = [above, below, above - height, below + height, box.y, below - height];
  const inside = rows.filter((y) => y >= 0 && y + height <= canvasHeight);
  const clear = (y, boxes) => boxes.every((other) => !overlap(other, x, y, width, height));
  const y =
    inside.find((row) => clear(row, taken) && clear(row, others)) ??
    inside.find((row) => clear(row, taken)) ??
    Math.max(0, Math.min(above, canvasHeight - height));
  taken.push({ x, y, width, height });
  context.fillStyle = css(color);
  context.beginPath();
  context.roundRect(x, y, width, height, height * 0.2);
  context.fill();
  context.fillStyle = inkOn(color);
  context.textBaseline = "middle";
  context.fillText(label, x + padding, y + height * 0.54);
}

/** Whether labels would cover many small faces. Then a number (as in the cards and the CSV) and an emoji are drawn. */
function isCrowded(context, looks) {
  if (looks.length < 5) return false;
  const widths = looks.map(({ box }) => box.width).sort((a, b) => a - b);
  const labels = looks.map(({ text }) => context.measureText(text).width).sort((a, b) => a - b);
  const middle = looks.length >> 1;
  return labels[middle] > 1.5 * widths[middle];
}

function fontOf(height) {
  return `600 ${height * 0.66}px ${FONT}`;
}

function overlap(other, x, y, width, height) {
  return x < other.x + other.width && other.x < x + width && y < other.y + other.height && other.y < y + height;
}
