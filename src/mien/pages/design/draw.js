// The overlay of boxes: draws faces with their labels on a canvas of any size, for pages and for downloads.

import { css, shown } from "./labels.js";
import { makeCanvas } from "./parts.js";

const FONT = "system-ui, sans-serif";
const MOSAIC = 7; // a hidden face keeps so few pixels a side

/** The size of an image, video or canvas in its own pixels. */
export function sizeOf(source) {
  return { width: source.videoWidth ?? source.naturalWidth ?? source.width, height: source.videoHeight ?? source.naturalHeight ?? source.height };
}

/**
 * Draws faces on the canvas over an image, video or canvas, which may be letterboxed. No faces: clears it.
 * width: of the image that the boxes belong to. hide: the faces below a mosaic. Others: as drawFaces.
 */
export function drawOver(overlay, source, faces, { width, boxes = true, hide = false, mirror = false, ...options }) {
  const context = fitCanvas(overlay);
  const size = sizeOf(source);
  if (!context || !size.width || !width || !faces.length) return;
  const { width: wide, height: high } = overlay;
  const fitted = Math.min(wide / size.width, high / size.height);
  context.setTransform(1, 0, 0, 1, (wide - fitted * size.width) / 2, (high - fitted * size.height) / 2);
  const scale = (fitted * size.width) / width;
  const mirrorWidth = mirror ? width : 0;
  if (hide) hideFaces(context, source, faces, { scale, from: size.width / width, mirrorWidth });
  const plate = (overlay.clientWidth < 420 ? 18 : 22) * (wide / overlay.clientWidth);
  if (boxes) drawFaces(context, faces, { ...options, scale, plate, mirrorWidth });
}

/**
 * Draws faces: [{box: [x1, y1, x2, y2], expression, confidence, number}]; number defaults to the place in the list, from 1.
 * scale: from the image's pixels to the canvas's. plate: a label's height in pixels of the canvas. unsureBelow: 0 to
 * 1. chosen: the index of the highlighted face. mirrorWidth: the image's width, to swap left and right; 0 for no.
 */
export function drawFaces(context, faces, { scale, plate, unsureBelow = 0, chosen = -1, mirrorWidth = 0 }) {
  const looks = faces.map((face, index) => ({
    ...shown(face, unsureBelow),
    number: String(face.number || index + 1),
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
    const short = crowded && index !== chosen;
    const others = looks.filter((_, i) => i !== index).map((look) => look.box);
    drawPlate(context, looks[index], short ? 0.75 * plate : plate, { short, taken, others });
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

/** Draws a face with some of what is around it on a square canvas. Returns false while the source has no image. */
export function drawCrop(canvas, source, [x1, y1, x2, y2], width, mirror = false) {
  const scale = sizeOf(source).width / width;
  if (!(scale > 0)) return false;
  const side = 1.25 * Math.max(x2 - x1, y2 - y1) * scale;
  const [x, y] = [((x1 + x2) / 2) * scale - side / 2, ((y1 + y2) / 2) * scale - side / 2];
  const context = canvas.getContext("2d");
  context.setTransform(mirror ? -1 : 1, 0, 0, 1, mirror ? canvas.width : 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, x, y, side, side, 0, 0, canvas.width, canvas.height);
  return true;
}

/** A small image of a face, for a timeline; null while the source has none. */
export function faceImage(source, box, width, mirror) {
  const canvas = makeCanvas(64, 64);
  return drawCrop(canvas, source, box, width, mirror) ? canvas : null;
}

/** The image with its faces, at full size, as a canvas to be saved. source: as for drawImage. */
export function annotated(source, width, height, faces, options) {
  const canvas = makeCanvas(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(source, 0, 0, width, height);
  const plate = Math.max(15, 4 + 0.028 * Math.sqrt(width * height));
  drawFaces(context, faces, { scale: 1, plate, ...options });
  return canvas;
}

/** Fits a canvas's pixels to its size on the page. Returns its cleared context, or null while it has no size. */
function fitCanvas(canvas) {
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

/** Draws a mosaic over each face, as an ellipse that is wider than its box. from: from the boxes' pixels to the source's. */
function hideFaces(context, source, faces, { scale, from, mirrorWidth }) {
  const small = makeCanvas(MOSAIC, MOSAIC);
  for (const { box } of faces) {
    const [x1, y1, x2, y2] = box.map((value) => value * from);
    small.getContext("2d").drawImage(source, x1, y1, x2 - x1, y2 - y1, 0, 0, MOSAIC, MOSAIC);
    const { x, y, width, height } = onCanvas(box, scale, mirrorWidth);
    context.save();
    context.beginPath();
    context.ellipse(x + width / 2, y + height / 2, 0.62 * width, 0.66 * height, 0, 0, 2 * Math.PI);
    context.clip();
    context.drawImage(small, x - 0.15 * width, y - 0.2 * height, 1.3 * width, 1.4 * height);
    context.restore();
  }
}

function onCanvas([x1, y1, x2, y2], scale, mirrorWidth) {
  const [left, right] = mirrorWidth ? [mirrorWidth - x2, mirrorWidth - x1] : [x1, x2];
  return { x: left * scale, y: y1 * scale, width: (right - left) * scale, height: (y2 - y1) * scale };
}

function drawBox(context, { box, color, unsure }, line, chosen) {
  const stroke = (width, style) => {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.beginPath();
    context.roundRect(box.x, box.y, box.width, box.height, 3 * line);
    context.stroke();
  };
  context.save();
  stroke(line * (chosen ? 2.6 : 1.6), chosen ? "#fff" : "rgb(0 0 0 / .6)"); // a rim makes it visible on any image
  if (unsure) context.setLineDash([line * 4, line * 3]);
  stroke(line * (chosen ? 1.4 : 1), css(color));
  context.restore();
}

/** The number, emoji and text of a face; only the number and the emoji if `short`. */
function drawPlate(context, { box, color, ink, number, emoji, text }, height, { short, taken, others }) {
  const { width: canvasWidth, height: canvasHeight } = context.canvas;
  const gap = height * 0.3;
  context.font = fontOf(height);
  const sizes = [context.measureText(number).width, emoji ? 0.8 * height : 0, short ? 0 : context.measureText(text).width];
  const width = sizes.reduce((sum, size) => sum + (size ? size + gap : 0), gap);
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
  context.roundRect(x, y, width, height, height * 0.25);
  context.fill();
  context.fillStyle = ink;
  context.textBaseline = "middle";
  context.fillText(number, x + gap, y + height * 0.54);
  const after = x + 2 * gap + sizes[0];
  if (emoji) context.drawImage(emoji, after, y + 0.1 * height, 0.8 * height, 0.8 * height);
  if (!short) context.fillText(text, after + (emoji ? sizes[1] + gap : 0), y + height * 0.54);
}

/** Whether labels would cover many small faces. Then a number (as on the cards and in the CSV) and an emoji are drawn. */
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
