// What the user takes away: files, the clipboard, and the same JSON and CSV that `mien predict` writes.

/** Offers data as a file. data: a Blob or text. */
export function download(name, data, type) {
  const address = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** A canvas as a Blob: JPEG for a name that ends so, else PNG. */
export function encode(canvas, name) {
  const type = /\.jpe?g$/i.test(name) ? "image/jpeg" : "image/png";
  return new Promise((resolve) => canvas.toBlob(resolve, type, 0.92));
}

/** Results as a document, as `mien predict --format json` has it; answers below the threshold are marked. */
export function toJson(model, images, unsureBelow) {
  const marked = images.map((image) => ({
    ...image,
    faces: image.faces.map((face) => ({ ...face, abstained: face.confidence < unsureBelow })),
  }));
  return `${JSON.stringify({ model, images: marked }, null, 1)}\n`;
}

// Columns of mien.results.rows; a label that is called like one of them has a longer name.
const OTHERS = new Set(["source", "width", "height", "face", "x1", "y1", "x2", "y2", "detection_score", "expression",
  "confidence", "error", "image", "frame", "time_s", "track", "smoothed_expression"]);

/** Results as rows, as `mien predict --format csv` has them: an abstained answer's expression is empty. */
export function toCsv(labels, images, unsureBelow) {
  const head = ["source", "width", "height", "face", "x1", "y1", "x2", "y2", "detection_score", "expression", "confidence"];
  const rows = [[...head, ...labels.map((label) => (OTHERS.has(label) ? `label_${label}` : label)), "error"]];
  for (const image of images) {
    const about = [image.source, image.width, image.height];
    image.faces.forEach((face, index) => {
      const answer = face.confidence < unsureBelow ? "" : face.expression;
      const shares = labels.map((label) => decimal(face.probabilities[label]));
      const numbers = [...face.box, face.detection_score].map(decimal);
      rows.push([...about, index + 1, ...numbers, answer, decimal(face.confidence), ...shares, ""]);
    });
    if (!image.faces.length) rows.push([...about, ...Array(8 + labels.length).fill(""), image.error ?? ""]);
  }
  return rows.map((row) => `${row.map(cell).join(",")}\n`).join("");
}

/** "portrait.jpeg" and "-mien.png" -> "portrait-mien.png". */
export function renamed(name, ending) {
  return name.replace(/\.[^.]*$/, "") + ending;
}

/** A number that is no integer by its kind keeps its point: 1 is 1.0 in the files of the command line. */
function decimal(number) {
  return Number.isInteger(number) ? `${number}.0` : String(number);
}

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
