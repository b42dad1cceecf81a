// The page's client of the worker: the same functions as api.js, but on this device alone.

let worker = null;
let lastId = 0;
let loaded = null; // promise of the content of recognizer.json
const waiting = new Map(); // id -> {resolve, reject}

/** Loads the networks once. Returns the same shape as GET /v1/models. */
export async function getModels() {
  const { model } = await load();
  return { models: [model], detectors: ["yunet", "none"], videos: false, limits: null };
}

/** Recognises one image: {model, image}. */
export async function predict(file, { detector }, signal) {
  const { model } = await load();
  signal?.throwIfAborted();
  const image = await ask({ image: file, source: file.name || "image", detector });
  signal?.throwIfAborted();
  return { model, image };
}

/** Opens a stream like api.js does. `takesBitmaps`: send() takes ownership of an ImageBitmap. */
export function openStream({ detector }, { onReady, onResult, onClose }) {
  let over = false;
  const end = () => {
    if (!over) onClose();
    over = true;
  };
  load().then(() => over || onReady(), end);
  return {
    takesBitmaps: true,
    send: (bitmap) => ask({ image: bitmap, source: "frame", detector }, [bitmap]).then((image) => over || onResult(image), end),
    close: () => (over = true),
  };
}

function load() {
  loaded ??= ask({}).catch((error) => {
    loaded = null; // the next request tries again
    throw error;
  });
  return loaded;
}

function ask(message, transfer = []) {
  worker ??= start();
  lastId += 1;
  const id = lastId;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, ...message }, transfer);
  });
}

function start() {
  const started = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  started.addEventListener("message", ({ data: { id, answer, error } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) resolve(answer);
    else reject(new Error(`Recognition on this device failed: ${error}`));
  });
  started.addEventListener("error", (event) => {
    event.preventDefault();
    worker = loaded = null;
    for (const { reject } of waiting.values()) reject(new Error("The networks could not be loaded on this device."));
    waiting.clear();
  });
  return started;
}
