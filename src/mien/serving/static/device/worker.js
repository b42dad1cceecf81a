// Runs the recognizer beside the page, so that the page stays smooth. Only an exported folder has the runtime and the
// networks that this loads. One message {id, ...} is answered by one {id, answer} or {id, error}.

import { Recognizer } from "./recognizer.js";
import * as ort from "./runtime/ort.wasm.bundle.min.mjs";

const MOST_PIXELS = 50_000_000;

let loading = null;
let last = Promise.resolve(); // the networks take one image at a time

addEventListener("message", ({ data: { id, image, source, detector } }) => {
  last = last.then(async () => {
    try {
      loading ??= load();
      loading.catch(() => (loading = null)); // the next question tries again
      const { recognizer, settings } = await loading;
      const answer = image ? await recognize(recognizer, image, source, detector) : settings;
      postMessage({ id, answer });
    } catch (error) {
      postMessage({ id, error: error.message });
    }
  });
});

async function load() {
  ort.env.wasm.wasmPaths = { wasm: new URL("runtime/ort-wasm-simd-threaded.wasm", import.meta.url).href };
  ort.env.wasm.numThreads = 1; // more were slower: the networks are small, and threads that wait keep a core busy
  const answer = await fetch(new URL("recognizer.json", import.meta.url));
  const settings = await answer.json();
  const networks = {};
  for (const name of ["expressions", "yunet", ...(settings.mesh ? ["mesh"] : [])]) networks[name] = await open(`networks/${name}.onnx`);
  return { recognizer: new Recognizer(settings, networks), settings };
}

async function open(path) {
  const session = await ort.InferenceSession.create(new URL(path, import.meta.url).href, {
    executionProviders: ["wasm"],
    enableCpuMemArena: false, // images come in every size: the arena would keep the largest for good
    enableMemPattern: false,
  });
  const [input] = session.inputNames;
  return (bytes, dimensions) => session.run({ [input]: new ort.Tensor("uint8", bytes, dimensions) });
}

/** image: a file or an ImageBitmap, which is closed. A file that can't be read is an answer with its reason. */
async function recognize(recognizer, image, source, detector) {
  let bitmap = image;
  if (image instanceof Blob) {
    try {
      bitmap = await createImageBitmap(image, { colorSpaceConversion: "none" });
    } catch {
      return unreadable(source, "is not an image that this browser can read, or damaged");
    }
  }
  const { width, height } = bitmap;
  try {
    if (width * height > MOST_PIXELS) {
      return unreadable(source, `has ${width} x ${height} pixels, more than ${MOST_PIXELS / 1e6} million`);
    }
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    return await recognizer.predict(context.getImageData(0, 0, width, height), { source, detector });
  } finally {
    bitmap.close();
  }
}

function unreadable(source, reason) {
  return { source, width: 0, height: 0, faces: [], error: `${source}: ${reason}` };
}
