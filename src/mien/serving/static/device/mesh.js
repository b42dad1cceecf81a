// What a face does, as mien/faces/mesh.py: mesh, head pose, gaze, eyes, mouth, blendshapes. MediaPipe's Face Landmarker.

import { sampled, squares } from "./crop.js";
import { rounded } from "./resample.js";

const degrees = (radians) => rounded((radians * 180) / Math.PI, 1);
const minus = (a, b) => a.map((value, axis) => value - b[axis]);
const middleOf = (points) => points[0].map((_, axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);

/** Fits a mesh to the faces that a detector has found. */
export class FaceMesh {
  #network;
  #settings;

  /**
   * network: a function (bytes, dimensions) -> promise of {mesh, presence, blendshapes: {data}}.
   * settings: `mesh_settings` in Python.
   */
  constructor(network, settings) {
    this.#network = network;
    this.#settings = settings;
  }

  /** What each face does, as the API's JSON has it. image: RGB; found: as the detector returns it. */
  async details(image, found) {
    const { crop, least_face: leastFace, small_face: smallFace, most_turn: mostTurn } = this.#settings;
    const answers = [];
    for (const [i, box] of found.boxes.entries()) {
      const one = { boxes: [box], landmarks: found.landmarks && [found.landmarks[i]] };
      const edge = Math.max(box[2] - box[0], box[3] - box[1]);
      if (found.cropped) answers.push(absent("a face crop: details need an image in which a detector finds the face"));
      else if (edge < leastFace) answers.push(absent(`smaller than ${leastFace} pixels`));
      else answers.push(await this.#read(image, squares(one, crop)[0], edge < smallFace ? 0 : mostTurn));
    }
    return answers;
  }

  /** mostTurn: degrees by which the mesh may be turned from the square; beyond, the network looks again. */
  async #read(image, square, mostTurn) {
    const s = this.#settings;
    const outputs = await this.#network(sampled(image, square, s.size).data, [1, s.size, s.size, 3]);
    const { mesh: { data }, presence: { data: [presence] }, blendshapes: { data: shapes } } = outputs;
    if (presence < s.least_presence) return absent("covered, dark or blurred: no mesh fits well");
    const mesh = placed(data, square, s.size);
    const { turn, size } = fit(s.pose.map(([index]) => mesh[index]), s.pose);
    const yaw = Math.asin(Math.min(1, Math.max(-1, -turn[2][0])));
    if (Math.abs(yaw) > (s.most_yaw * Math.PI) / 180) return absent(`in profile: turned by ${Math.abs(degrees(yaw)).toFixed(0)} degrees`);
    const roll = Math.atan2(turn[1][0], turn[0][0]);
    const apart = ((roll - square.roll) * 180) / Math.PI;
    if (Math.abs(((((apart + 180) % 360) + 360) % 360) - 180) > mostTurn) return this.#read(image, around(mesh.slice(0, s.irises[0]), roll, s.around), Infinity);
    const [left, right] = s.blinks.map((blink) => Math.min(1, Math.max(0, 1 - shapes[blink])));
    const irises = s.irises.map((iris, eye) => minus(mesh[iris], middleOf(s.eyes[eye].map((corner) => mesh[corner]))));
    const open = irises.filter((_, eye) => [right, left][eye] >= s.closed).map((iris) => iris.map((value) => value / size));
    const [gap, width] = [s.lips, s.mouth].map(([one, other]) => Math.hypot(...minus(mesh[one], mesh[other])));
    return {
      mesh: mesh.map((point) => point.map((value) => rounded(value, 1))),
      pose: { yaw: degrees(yaw), pitch: degrees(Math.atan2(turn[2][1], turn[2][2])), roll: degrees(roll) },
      gaze: open.length ? gaze(middleOf(open), turn, s) : null,
      eyes_open: { left: rounded(left, 4), right: rounded(right, 4) },
      mouth_open: rounded(Math.min(1, gap / Math.max(width, 1e-6)), 4),
      blendshapes: Object.fromEntries(s.blendshapes.map((name, i) => [name, rounded(shapes[i], 4)])),
      error: null,
    };
  }
}

function absent(error) {
  return { mesh: null, pose: null, gaze: null, eyes_open: null, mouth_open: null, blendshapes: null, error };
}

/** The square around a mesh, upright by `roll`, `share` times as large. */
function around(mesh, roll, share) {
  const [cos, sin] = [Math.cos(roll), Math.sin(roll)];
  const [xs, ys] = [mesh.map(([x, y]) => x * cos + y * sin), mesh.map(([x, y]) => y * cos - x * sin)];
  const [[left, right], [top, bottom]] = [xs, ys].map((values) => [Math.min(...values), Math.max(...values)]);
  const [x, y] = [(left + right) / 2, (top + bottom) / 2];
  return { x: x * cos - y * sin, y: x * sin + y * cos, side: Math.max(right - left, bottom - top) * share, roll };
}

/** Points of the network's square as points of the image: [[x, y, depth]]. */
function placed(data, { x, y, side, roll }, size) {
  const scale = side / size;
  const [cos, sin] = [Math.cos(roll) * scale, Math.sin(roll) * scale];
  return Array.from({ length: data.length / 3 }, (_, i) => {
    const [u, v] = [data[3 * i] - size / 2, data[3 * i + 1] - size / 2];
    return [u * cos - v * sin + x, u * sin + v * cos + y, data[3 * i + 2] * scale];
  });
}

/**
 * The rotation from a face that looks at the camera to this one, and its size in pixels per cm: weighted least squares.
 * points: of this face. frontal: [[index, weight, x, y, z]] of the other, weights of sum 1. Horn 1987, by quaternions.
 */
function fit(points, frontal) {
  const mean = (places) => [0, 1, 2].map((axis) => places.reduce((sum, place, i) => sum + frontal[i][1] * place[axis], 0));
  const own = frontal.map((point) => point.slice(2));
  const [centre, ownCentre] = [mean(points), mean(own)];
  const s = [[0, 0, 0], [0, 0, 0], [0, 0, 0]];
  let spread = 0;
  own.forEach((place, i) => {
    const [from, to, weight] = [minus(place, ownCentre), minus(points[i], centre), frontal[i][1]];
    spread += weight * from.reduce((sum, value) => sum + value * value, 0);
    for (let row = 0; row < 3; row += 1) for (let column = 0; column < 3; column += 1) s[row][column] += weight * from[row] * to[column];
  });
  const [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = s;
  const n = [
    [xx + yy + zz, yz - zy, zx - xz, xy - yx],
    [yz - zy, xx - yy - zz, xy + yx, zx + xz],
    [zx - xz, xy + yx, yy - xx - zz, yz + zy],
    [xy - yx, zx + xz, yz + zy, zz - xx - yy],
  ];
  const [w, x, y, z] = firstVector(n);
  const turn = [
    [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
  ];
  const along = turn.reduce((sum, row, i) => sum + row.reduce((inner, value, j) => inner + value * s[j][i], 0), 0);
  return { turn, size: along / spread };
}

/** The eigenvector of the largest eigenvalue of a symmetric matrix, of length 1: the matrix is squared until it remains. */
function firstVector(matrix) {
  const norm = Math.hypot(...matrix.flat());
  let power = matrix.map((row, i) => row.map((value, j) => value / norm + (i === j ? 1 : 0)));
  for (let i = 0; i < 24; i += 1) {
    const size = Math.hypot(...power.flat());
    power = power.map((row) => power[0].map((_, j) => row.reduce((sum, value, k) => sum + value * power[k][j], 0) / size / size));
  }
  const longest = power.reduce((best, row) => (Math.hypot(...row) > Math.hypot(...best) ? row : best));
  return longest.map((value) => value / Math.hypot(...longest));
}

/** Where the eyes look. iris: from the middle between an eye's corners, in cm, as seen in the image. */
function gaze(iris, turn, { rest, back, eyeball }) {
  let [x, y] = [0, 1].map((axis) => (iris[axis] - rest[axis] - back[axis] * turn[axis][2]) / eyeball);
  const shrink = Math.min(1, 0.99 / Math.max(Math.hypot(x, y), 1e-9));
  [x, y] = [x * shrink, y * shrink];
  const z = -Math.sqrt(1 - x * x - y * y);
  return { yaw: degrees(Math.atan2(-x, -z)), pitch: degrees(Math.atan2(y, Math.hypot(x, z))) };
}
