// Tracks faces across camera frames, and smooths their probabilities.

import { withExpression } from "./design/labels.js";

const SMOOTHING_S = 0.4; // time constant: 63 % of a sudden change is visible after it
const LOST_S = 1.5; // a face that returns later gets a new track
const NUMBERED_AFTER = 3; // detections before a face gets its number: false positives last a frame or two

/** Faces of a live image: each track is {number, box, probabilities, expression, confidence, seen}. number: 0 until it has one. */
export class Tracks {
  #tracks = [];
  #given = 0;

  /** Assigns the faces of a frame to tracks. time: seconds. Returns the tracks of the frame. */
  follow(faces, time) {
    const left = this.#tracks.filter((track) => time - track.seen <= LOST_S);
    const pairs = faces.flatMap((face) => left.map((track) => ({ face, track, fit: fit(track.box, face.box) })));
    const matched = new Map();
    for (const { face, track, fit: value } of pairs.sort((a, b) => b.fit - a.fit)) {
      if (value > 0 && !matched.has(face) && ![...matched.values()].includes(track)) matched.set(face, track);
    }
    const present = faces.map((face) => this.#update(matched.get(face) ?? this.#begin(face), face, time));
    this.#tracks = this.#tracks.filter((track) => time - track.seen <= LOST_S);
    return present;
  }

  #begin(face) {
    const track = { number: 0, detections: 0, seen: -Infinity, probabilities: face.probabilities };
    this.#tracks.push(track);
    return track;
  }

  #update(track, face, time) {
    const weight = track.detections ? 1 - Math.exp(-(time - track.seen) / SMOOTHING_S) : 1;
    const smooth = ([label, value]) => [label, weight * face.probabilities[label] + (1 - weight) * value];
    track.probabilities = Object.fromEntries(Object.entries(track.probabilities).map(smooth));
    Object.assign(track, withExpression(track), { box: face.box, seen: time, detections: track.detections + 1 });
    if (!track.number && track.detections >= NUMBERED_AFTER) track.number = this.#given += 1;
    return track;
  }
}

/** Similarity of two boxes: 1 for equal ones, 0 if the centres are a face apart or one is twice as large. */
function fit([a1, b1, a2, b2], [x1, y1, x2, y2]) {
  const sides = [Math.max(a2 - a1, b2 - b1, 1), Math.max(x2 - x1, y2 - y1, 1)];
  const apart = Math.hypot((a1 + a2 - x1 - x2) / 2, (b1 + b2 - y1 - y2) / 2) / Math.max(...sides);
  const alike = Math.min(...sides) / Math.max(...sides);
  return alike <= 0.5 ? 0 : Math.max(0, 1 - apart) * alike;
}
