// YuNet: finds faces in one pass over the image, as mien/faces/one_pass.py; upright ones, searched at half the size.
// Wu, Peng, Yu: YuNet: A Tiny Millisecond-level Face Detector (2023), doi:10.1007/s11633-023-1423-y.

import { cut, resizeArea, roundEven } from "./resample.js";

const STRIDES = [8, 16, 32];
const LEAST_SIDE = 64; // the network invents faces where its coarsest layer has a single row or column
const OVERLAP = 0.3; // intersection over union of boxes that are one face

/** Finds faces and their five landmarks. */
export class YuNet {
  #network;
  #settings;

  /**
   * network: a function (bytes, dimensions) -> promise of {name: {data, dims}}.
   * settings: {min_face, threshold, scale, small_side, max_side}, as `Auto` and `YuNet` in Python have them.
   */
  constructor(network, settings) {
    this.#network = network;
    this.#settings = settings;
  }

  /** Faces in an RGB image, from left to right: {boxes, scores, landmarks: [[[x, y] x 5]], cropped: false}. */
  async detect(image) {
    const { min_face: minFace, threshold, scale, small_side: smallSide, max_side: maxSide } = this.#settings;
    const longer = Math.max(image.width, image.height);
    const side = Math.min(longer, Math.max(Math.min(longer * scale, maxSide), smallSide));
    const small = shrunk(image, side);
    const padded = cut(small, 0, 0, padTo(small.width), padTo(small.height), { repeat: false });
    const outputs = await this.#network(padded.data, [1, padded.height, padded.width, 3]);
    const [growX, growY] = [image.width / small.width, image.height / small.height];
    const faces = STRIDES.flatMap((stride) => candidates(outputs, stride, threshold))
      .map(({ score, points }) => ({ score, points: points.map(([x, y]) => [x * growX, y * growY]) }))
      .filter(({ points: [[x1, y1], [x2, y2]] }) => Math.max(x2 - x1, y2 - y1) >= minFace);
    const kept = best(faces).sort((a, b) => a.points[0][0] - b.points[0][0]);
    return {
      boxes: kept.map(({ points }) => points.slice(0, 2).flat()),
      scores: kept.map(({ score }) => score),
      landmarks: kept.map(({ points }) => points.slice(2)),
      cropped: false,
    };
  }
}

function shrunk(image, side) {
  const scale = side / Math.max(image.width, image.height);
  if (scale >= 1) return image;
  return resizeArea(image, Math.max(1, roundEven(image.width * scale)), Math.max(1, roundEven(image.height * scale)));
}

/** The next multiple of 32, at least 64. */
function padTo(side) {
  return Math.max((side + 31) & ~31, LEAST_SIDE);
}

/** Faces of one layer in pixels of the network's input: {score, points: two corners of the box, five landmarks}. */
function candidates(outputs, stride, threshold) {
  const { data: scores, dims } = outputs[`score_${stride}`];
  const { data: values } = outputs[`values_${stride}`];
  const [columns, places] = [dims[2], dims[1] * dims[2]];
  const found = [];
  for (let i = 0; i < places; i += 1) {
    if (!(scores[i] >= threshold)) continue;
    const value = (channel) => values[channel * places + i];
    const point = (channel) => [((i % columns) + value(channel)) * stride, (Math.floor(i / columns) + value(channel + 1)) * stride];
    const [x, y] = point(0);
    const [halfWidth, halfHeight] = [2, 3].map((channel) => (Math.exp(value(channel)) / 2) * stride);
    const corners = [[x - halfWidth, y - halfHeight], [x + halfWidth, y + halfHeight]];
    found.push({ score: scores[i], points: [...corners, ...[4, 6, 8, 10, 12].map(point)] });
  }
  return found;
}

/** The best of the candidates for each face, best first. */
function best(candidates) {
  const kept = [];
  for (const face of [...candidates].sort((a, b) => b.score - a.score)) {
    if (kept.every((better) => overlap(better.points, face.points) <= OVERLAP)) kept.push(face);
  }
  return kept;
}

/** Intersection over union of two boxes. */
function overlap([[ax1, ay1], [ax2, ay2]], [[bx1, by1], [bx2, by2]]) {
  const width = Math.max(Math.min(ax2, bx2) - Math.max(ax1, bx1), 0);
  const height = Math.max(Math.min(ay2, by2) - Math.max(ay1, by1), 0);
  const shared = width * height;
  return shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared);
}
