// Images as files, and the JSON and CSV formats of `mien predict`.

import { csvText } from "./design/parts.js";

/** A canvas as a Blob: JPEG for a name with .jpg or .jpeg, else PNG. */
export function encode(canvas, name) {
  const type = /\.jpe?g$/i.test(name) ? "image/jpeg" : "image/png";
  return new Promise((resolve) => canvas.toBlob(resolve, type, 0.92));
}

/** Results as a document, as `mien predict --format json` writes it; predictions below the threshold are marked. */
export function toJson(model, images, unsureBelow) {
  const marked = images.map((image) => ({
    ...image,
    faces: image.faces.map((face) => ({ ...face, abstained: face.confidence < unsureBelow })),
  }));
  return `${JSON.stringify({ model, images: marked }, null, 1)}\n`;
}

const DETAILS = ["yaw", "pitch", "roll", "gaze_yaw", "gaze_pitch", "left_eye_open", "right_eye_open", "mouth_open"];

/** Columns of mien.results.rows that are not labels; a label with one of these names gets the prefix label_. */
export const COLUMNS = new Set(["source", "width", "height", "face", "x1", "y1", "x2", "y2", "detection_score", "expression",
  "confidence", "error", "image", "frame", "time_s", "track", "smoothed_expression", ...DETAILS, "details_error"]);

/** Results as rows, as `mien predict --format csv` writes them: an abstained prediction has an empty expression. */
export function toCsv(labels, images, unsureBelow) {
  const head = ["source", "width", "height", "face", "x1", "y1", "x2", "y2", "detection_score", "expression", "confidence"];
  const found = images.flatMap((image) => image.faces.map((face) => face.details ?? []).flat());
  const shapes = Object.keys(found.find((details) => details.blendshapes)?.blendshapes ?? {});
  const more = found.length ? [...DETAILS, ...shapes, "details_error"] : [];
  const rows = [[...head, ...labels.map((label) => (COLUMNS.has(label) ? `label_${label}` : label)), ...more, "error"]];
  for (const image of images) {
    const about = [image.source, image.width, image.height];
    image.faces.forEach((face, index) => {
      const expression = face.confidence < unsureBelow ? "" : face.expression;
      const shares = labels.map((label) => decimal(face.probabilities[label]));
      const numbers = [...face.box, face.detection_score].map(decimal);
      rows.push([...about, index + 1, ...numbers, expression, decimal(face.confidence), ...shares, ...(more.length ? detailCells(face.details, shapes) : []), ""]);
    });
    if (!image.faces.length) rows.push([...about, ...Array(8 + labels.length + more.length).fill(""), image.error ?? ""]);
  }
  return csvText(rows);
}

function detailCells({ pose, gaze, eyes_open: eyes, mouth_open: mouth, blendshapes, error }, shapes) {
  const values = [pose?.yaw, pose?.pitch, pose?.roll, gaze?.yaw, gaze?.pitch, eyes?.left, eyes?.right, mouth];
  return [...values, ...shapes.map((name) => blendshapes?.[name])].map((value) => (value == null ? "" : decimal(value))).concat(error ?? "");
}

/** "portrait.jpeg" and "-mien.png" -> "portrait-mien.png". */
export function renamed(name, ending) {
  return name.replace(/\.[^.]*$/, "") + ending;
}

/** A float as the command line writes it: 1 is 1.0. */
function decimal(number) {
  return Number.isInteger(number) ? `${number}.0` : String(number);
}
