// Images in, results out, as mien/recognition/recognizer.py: finds faces, cuts them out, and asks the model.

import { cropFaces } from "./crop.js";
import { FaceMesh } from "./mesh.js";
import { fromRgba, rounded } from "./resample.js";
import { YuNet } from "./yunet.js";

/** Recognises facial expressions in images. */
export class Recognizer {
  #settings;
  #classify;
  #detector;
  #mesh;

  /**
   * settings: what recognizer.json holds: {model, weights, input: {size, channels, crop}, detector, mesh or null}.
   * networks: {expressions, yunet, mesh}, each a function (bytes, dimensions) -> promise of {name: {data, dims}}.
   */
  constructor(settings, networks) {
    this.#settings = settings;
    this.#classify = networks.expressions;
    this.#detector = new YuNet(networks.yunet, settings.detector);
    this.#mesh = settings.mesh ? new FaceMesh(networks.mesh, settings.mesh) : null;
  }

  /**
   * The faces of an image (ImageData) from left to right, as the API's JSON has an image.
   * source: its name. detector: "yunet", or "none" where the image is a face already.
   */
  async predict(imageData, { source = "image 0", detector = "yunet" } = {}) {
    const image = fromRgba(imageData);
    const found = detector === "none" ? wholeOf(image) : await this.#detector.detect(image);
    const { crop, size, channels } = this.#settings.input;
    const { labels } = this.#settings.model;
    const count = found.boxes.length;
    const faces = [];
    if (count) {
      const crops = cropFaces(image, found, crop, { size, channels });
      const answer = Object.values(await this.#classify(crops, [count, size, size, channels]))[0].data;
      const data = balanced(answer, this.#settings.weights);
      for (let i = 0; i < count; i += 1) {
        faces.push(toFace(found.boxes[i], found.scores[i], found.landmarks?.[i], labels, data.subarray(i * labels.length)));
      }
    }
    const details = this.#mesh ? await this.#mesh.details(image, found) : [];
    details.forEach((each, i) => (faces[i].details = each));
    return { source, width: image.width, height: image.height, faces, error: null };
  }
}

/** Probabilities, row after row, times the weights of their labels, each row made to sum to 1, as mien/balance.py. */
export function balanced(rows, weights) {
  if (!weights) return rows;
  const classes = weights.length;
  const weighed = rows.map((value, i) => value * weights[i % classes]);
  for (let start = 0; start < weighed.length; start += classes) {
    const row = weighed.subarray(start, start + classes);
    const total = row.reduce((sum, value) => sum + value, 0);
    row.forEach((value, i) => (row[i] = value / total));
  }
  return weighed;
}

function wholeOf({ width, height }) {
  return { boxes: [[0, 0, width, height]], scores: [1], landmarks: null, cropped: true };
}

function toFace(box, score, landmarks, labels, row) {
  const best = labels.reduce((top, _, i) => (row[i] > row[top] ? i : top), 0);
  return {
    box: box.map((value) => rounded(value, 1)),
    detection_score: rounded(score, 4),
    expression: labels[best],
    confidence: rounded(row[best], 4),
    probabilities: Object.fromEntries(labels.map((label, i) => [label, rounded(row[i], 4)])),
    abstained: false,
    landmarks: landmarks?.map((point) => point.map((value) => rounded(value, 1))) ?? null,
  };
}
