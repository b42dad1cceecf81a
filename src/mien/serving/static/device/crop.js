// From a detected face to the square that a network sees: the same contract as mien/crop.py.

import { cut, resizeArea, resizeCubic, roundEven, toGrey, warp } from "./resample.js";

const TILTED = (15 * Math.PI) / 180; // networks were trained on faces that are turned by at most 12 degrees
const FRONTAL = [[-0.5, -0.6], [0.5, -0.6], [0, 0], [-0.4, 0.6], [0.4, 0.6]]; // landmarks of an upright face, any unit

/**
 * Face crops as the bytes of uint8 (N, size, size, channels), in the order of the detections.
 * image: RGB. found: {boxes: [[x1, y1, x2, y2]], landmarks: [[[x, y]]] or null, cropped}. spec: {margin, align,
 * shift_y}. channels: 1 for grey, 3 for RGB.
 */
export function cropFaces(image, found, spec, { size, channels }) {
  const length = size * size * channels;
  const crops = new Uint8Array(found.boxes.length * length);
  squares(found, spec).forEach((square, i) => {
    const face = found.cropped ? cut(image, ...found.boxes[i].map(roundEven)) : resampled(image, square, size);
    crops.set(fitFace(face, size, channels), i * length);
  });
  return crops;
}

/** What the crops of `cropFaces` show: centre and side in pixels, and how far each is turned, radians clockwise as seen. */
export function squares({ boxes, landmarks }, spec) {
  return boxes.map(([x1, y1, x2, y2], i) => {
    const turn = landmarks ? rollOf(landmarks[i]) : 0;
    const roll = spec.align || Math.abs(turn) > TILTED ? turn : 0;
    const side = Math.max(x2 - x1, y2 - y1, 1) * (1 + spec.margin);
    const down = spec.shift_y * side;
    return { x: (x1 + x2) / 2 - Math.sin(roll) * down, y: (y1 + y2) / 2 + Math.cos(roll) * down, side, roll };
  });
}

/** How far a face is turned, radians clockwise as seen: the turn that brings an upright face closest to its landmarks. */
function rollOf(landmarks) {
  const middle = [0, 1].map((axis) => landmarks.reduce((sum, point) => sum + point[axis], 0) / landmarks.length);
  let [along, across] = [0, 0];
  landmarks.forEach((point, i) => {
    const [x, y] = [point[0] - middle[0], point[1] - middle[1]];
    along += x * FRONTAL[i][0] + y * FRONTAL[i][1];
    across += y * FRONTAL[i][0] - x * FRONTAL[i][1];
  });
  return Math.atan2(across, along);
}

/** Resizes and converts a face to the bytes of the network's input: by area where neither side grows, else cubic. */
function fitFace(face, size, channels) {
  const own = channels === 1 ? toGrey(face) : face;
  const resize = Math.min(own.width, own.height) >= size ? resizeArea : resizeCubic;
  const { data } = own.width === size && own.height === size ? own : resize(own, size, size);
  return channels === 1 ? data.filter((_, i) => i % 3 === 0) : data;
}

/** A square of an image, bilinear and from corner to corner: as MediaPipe samples it. */
export function sampled(image, { x, y, side, roll }, size) {
  const [along, across] = [(Math.cos(roll) * side) / size, (Math.sin(roll) * side) / size];
  const matrix = [
    along, -across, x - 0.5 - ((along - across) * size) / 2,
    across, along, y - 0.5 - ((across + along) * size) / 2,
  ];
  return warp(image, matrix, size, { cubic: false });
}

/** One face, resampled once where it grows, and without aliasing where it shrinks. */
function resampled(image, { x: centreX, y: centreY, side, roll }, size) {
  const [cos, sin] = [Math.cos(roll), Math.sin(roll)];

  // Only the part of the image around the square is touched, first averaged down to about twice the wanted size.
  const step = side / size;
  const shrink = Math.max(1, step / 2);
  const reach = (side / 2) * (Math.abs(cos) + Math.abs(sin)) + 2 * shrink + 2;
  const [left, top] = [Math.floor(centreX - reach), Math.floor(centreY - reach)];
  const part = cut(image, left, top, Math.ceil(centreX + reach), Math.ceil(centreY + reach));
  const width = Math.max(1, roundEven(part.width / shrink));
  const height = Math.max(1, roundEven(part.height / shrink));
  const small = shrink > 1 ? resizeArea(part, width, height) : part;
  const [scaleX, scaleY] = [width / part.width, height / part.height];

  // Pixel centres lie at half coordinates: (u + 0.5) / n - 0.5 is a crop pixel's place in the square, -0.5 to 0.5.
  const n = step > 1 ? size * 2 : size;
  const [along, across] = [(cos * side) / n, (sin * side) / n];
  const middle = 0.5 - n / 2;
  const offsetX = centreX - left + (along - across) * middle;
  const offsetY = centreY - top + (across + along) * middle;
  const matrix = [
    along * scaleX, -across * scaleX, offsetX * scaleX - 0.5,
    across * scaleY, along * scaleY, offsetY * scaleY - 0.5,
  ];
  const face = warp(small, matrix, n, { cubic: step <= 1 });
  return n === size ? face : resizeArea(face, size, size);
}
