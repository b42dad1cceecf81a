// MTCNN: proposal, refinement and output networks over an image pyramid, step for step as mien/faces/mtcnn.py.
// Zhang, Zhang, Li, Qiao: Joint Face Detection and Alignment using Multi-task Cascaded Convolutional Networks (2016),
// arXiv:1604.02878. Boxes in here are [x1, y1, x2, y2] in pixels of the working image.

import { cut, halved, resizeArea, resizeLinear, roundEven, withBorder } from "./resample.js";

const CELL = 12; // the proposal network sees 12x12 pixels
const STRIDE = 2; // at every second pixel
const CHUNK = 256; // patches that go through a network at once: bounds memory
const GREY = 128; // of a patch where it reaches over the border

/** Finds faces and their five landmarks. */
export class Mtcnn {
  #networks;
  #settings;

  /**
   * networks: {pnet, rnet, onet}, each a function (bytes, dimensions) -> promise of {name: {data, dims}}.
   * settings: {min_face, thresholds: [3], scale_factor, max_side}.
   */
  constructor(networks, settings) {
    this.#networks = networks;
    this.#settings = { ...settings, min_face: Math.max(settings.min_face, CELL) };
  }

  /** Faces in an RGB image, best first: {boxes, scores, landmarks: [[[x, y] x 5]], cropped: false}. */
  async detect(image) {
    const { image: small, growX, growY } = shrunk(image, this.#settings.max_side);
    const proposed = await this.#propose(small);
    const refined = await this.#refine(small, proposed);
    const { boxes, scores, landmarks } = await this.#finish(small, refined);
    return {
      boxes: boxes.map(([x1, y1, x2, y2]) => [x1 * growX, y1 * growY, x2 * growX, y2 * growY]),
      scores,
      landmarks: landmarks.map((points) => points.map(([x, y]) => [x * growX, y * growY])),
      cropped: false,
    };
  }

  /** First network, over the pyramid. */
  async #propose(whole) {
    const { min_face: minFace, scale_factor: factor, thresholds } = this.#settings;
    const [boxes, scores] = [[], []];
    let image = whole;
    for (let scale = CELL / minFace; Math.min(whole.width, whole.height) * scale >= CELL; scale *= factor) {
      const [width, height] = [roundEven(whole.width * scale), roundEven(whole.height * scale)];
      while (image.width >= 2 * width && image.height >= 2 * height) {
        // The smaller levels are made from halves, which is faster.
        image = halved(image);
      }
      const level = resizeArea(image, width, height);
      const answer = await this.#networks.pnet(level.data, [1, height, width, 3]);
      const found = candidates(answer, thresholds[0]);
      const [growX, growY] = [whole.width / width, whole.height / height];
      for (const i of nms(found.boxes, found.scores, 0.5)) {
        const [x1, y1, x2, y2] = found.boxes[i];
        boxes.push([x1 * growX, y1 * growY, x2 * growX, y2 * growY]);
        scores.push(found.scores[i]);
      }
    }
    return nms(boxes, scores, 0.7).map((i) => boxes[i]);
  }

  /** Second network: most proposals go, the rest move closer. */
  async #refine(image, boxes) {
    const squares = boxes.map(square);
    const { offset, score } = await run(this.#networks.rnet, patches(image, squares, 24), 24, squares.length);
    const chosen = above(score, this.#settings.thresholds[1]);
    const close = chosen.map((i) => moved(squares[i], offset.subarray(4 * i, 4 * i + 4)));
    return nms(close, chosen.map((i) => score[i]), 0.7).map((i) => close[i]);
  }

  /** Third network, on patches and on their mirror images, averaged: the boxes as they are returned. */
  async #finish(image, boxes) {
    const squares = boxes.map(square);
    const data = patches(image, squares, 48);
    const plain = await run(this.#networks.onet, data, 48, squares.length);
    const mirror = await run(this.#networks.onet, mirrored(data, 48), 48, squares.length);
    const score = plain.score.map((value, i) => (value + mirror.score[i]) / 2);
    const chosen = above(score, this.#settings.thresholds[2]);
    const close = chosen.map((i) => moved(squares[i], meanOffset(plain.offset, mirror.offset, i)));
    const scores = chosen.map((i) => score[i]);
    const keep = nms(close, scores, 0.7, { bySmaller: true });
    const landmarks = keep.map((k) => {
      const [x1, y1, x2] = squares[chosen[k]];
      const points = meanPoints(plain.landmarks, mirror.landmarks, chosen[k]);
      return points.map(([x, y]) => [x1 + x * (x2 - x1), y1 + y * (x2 - x1)]);
    });
    return { boxes: keep.map((k) => close[k]), scores: keep.map((k) => scores[k]), landmarks };
  }
}

/**
 * Greedy non-maximum suppression: the indices that stay, best score first. A box goes when its overlap with a better
 * one that stays is above the threshold: intersection over union, or over the smaller area (bySmaller).
 */
export function nms(boxes, scores, threshold, { bySmaller = false } = {}) {
  const order = scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a]);
  const area = boxes.map(([x1, y1, x2, y2]) => Math.max(x2 - x1, 0) * Math.max(y2 - y1, 0));
  const gone = new Uint8Array(order.length);
  const keep = [];
  order.forEach((i, place) => {
    if (gone[place]) return;
    keep.push(i);
    const [ax1, ay1, ax2, ay2] = boxes[i];
    for (let later = place + 1; later < order.length; later += 1) {
      if (gone[later]) continue;
      const k = order[later];
      const [bx1, by1, bx2, by2] = boxes[k];
      const width = Math.min(ax2, bx2) - Math.max(ax1, bx1);
      const height = Math.min(ay2, by2) - Math.max(ay1, by1);
      const shared = Math.max(width, 0) * Math.max(height, 0);
      const whole = bySmaller ? Math.min(area[i], area[k]) : area[i] + area[k] - shared;
      if (shared > threshold * whole) gone[later] = 1;
    }
  });
  return keep;
}

/** The image with its longer side at most `most`, and the factors from its x, y back to the image's. */
function shrunk(image, most) {
  const { width, height } = image;
  if (Math.max(width, height) <= most) return { image, growX: 1, growY: 1 };
  const scale = most / Math.max(width, height);
  const small = resizeArea(image, Math.max(1, roundEven(width * scale)), Math.max(1, roundEven(height * scale)));
  return { image: small, growX: width / small.width, growY: height / small.height };
}

function candidates({ offset, score }, threshold) {
  const [, , columns] = score.dims;
  const [boxes, scores] = [[], []];
  for (let i = 0; i < score.data.length; i += 1) {
    if (!(score.data[i] > threshold)) continue;
    const [left, top] = [(i % columns) * STRIDE, Math.floor(i / columns) * STRIDE];
    const [dx1, dy1, dx2, dy2] = offset.data.subarray(4 * i, 4 * i + 4);
    boxes.push([left + dx1 * CELL, top + dy1 * CELL, left + CELL + dx2 * CELL, top + CELL + dy2 * CELL]);
    scores.push(score.data[i]);
  }
  return { boxes, scores };
}

/** A square around a box's centre with the side of its longer edge. */
function square([x1, y1, x2, y2]) {
  const [width, height] = [x2 - x1, y2 - y1];
  const [x, y] = [x1 + width / 2, y1 + height / 2];
  const half = Math.max(width, height, 0) / 2;
  return [x - half, y - half, x + half, y + half];
}

/** The squares of the image as bytes of uint8 (N, size, size, 3); mid-grey where they reach over the border. */
function patches(image, squares, size) {
  const length = size * size * 3;
  const out = new Uint8Array(squares.length * length).fill(GREY);
  squares.forEach((box, i) => {
    const [x1, y1, x2, y2] = box.map(roundEven);
    const [left, right] = [within(x1, image.width), within(x2, image.width)];
    const [top, bottom] = [within(y1, image.height), within(y2, image.height)];
    if (right <= left || bottom <= top) return;
    const inside = cut(image, left, top, right, bottom);
    const border = { left: left - x1, top: top - y1, right: x2 - right, bottom: y2 - bottom };
    const part = Object.values(border).some(Boolean) ? withBorder(inside, border, GREY) : inside;
    const resize = part.height > size && part.width >= size ? resizeArea : resizeLinear;
    out.set(resize(part, size, size).data, i * length);
  });
  return out;
}

function within(place, length) {
  return Math.min(Math.max(place, 0), length);
}

function mirrored(patches, size) {
  const out = new Uint8Array(patches.length);
  for (let row = 0; row < patches.length; row += size * 3) {
    for (let x = 0; x < size; x += 1) {
      const from = row + (size - 1 - x) * 3;
      out.set(patches.subarray(from, from + 3), row + x * 3);
    }
  }
  return out;
}

/** All patches through a network, in chunks: its outputs, each as one array. */
async function run(network, data, size, count) {
  const length = size * size * 3;
  const parts = [];
  for (let i = 0; i < count; i += CHUNK) {
    const some = Math.min(CHUNK, count - i);
    parts.push(await network(data.subarray(i * length, (i + some) * length), [some, size, size, 3]));
  }
  const joined = (name) => Float32Array.from(parts.flatMap((part) => (part[name] ? [...part[name].data] : [])));
  return { offset: joined("offset"), score: joined("score"), landmarks: joined("landmarks") };
}

function above(scores, threshold) {
  return Array.from(scores.keys()).filter((i) => scores[i] > threshold);
}

/** A box moved by a network's offsets, which are shares of its width and height. */
function moved([x1, y1, x2, y2], [dx1, dy1, dx2, dy2]) {
  const [width, height] = [x2 - x1, y2 - y1];
  return [x1 + dx1 * width, y1 + dy1 * height, x2 + dx2 * width, y2 + dy2 * height];
}

function meanOffset(plain, mirror, i) {
  const [a, b] = [plain.subarray(4 * i, 4 * i + 4), mirror.subarray(4 * i, 4 * i + 4)];
  return [(a[0] - b[2]) / 2, (a[1] + b[1]) / 2, (a[2] - b[0]) / 2, (a[3] + b[3]) / 2];
}

/** The five points (five x, then five y, as shares of the patch), each averaged with its twin in the mirror. */
function meanPoints(plain, mirror, i) {
  const [a, b] = [plain.subarray(10 * i, 10 * i + 10), mirror.subarray(10 * i, 10 * i + 10)];
  return [1, 0, 2, 4, 3].map((twin, k) => [(a[k] + 1 - b[twin]) / 2, (a[5 + k] + b[5 + twin]) / 2]);
}
