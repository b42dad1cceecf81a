// The page's side of the worker: answers like the server's (api.js), from this device alone.

let worker = null;
let asked = 0;
let loaded = null; // promise of what recognizer.json holds
const waiting = new Map(); // id -> {resolve, reject}

/** Loads the networks, once. Gives what GET /v1/models would. */
export async function getModels() {
  const { model } = await load();
  return { models: [model], detectors: ["mtcnn", "none"], videos: false, limits: null };
}

/** One picture's answer: {model, image}. */
export async function predict(file, { detector }, signal) {
  const { model } = await load();
  signal?.throwIfAborted();
  const image = await ask({ picture: file, source: file.name || "picture", detector });
  signal?.throwIfAborted();
  return { model, image };
}

/** A stream of frames, as api.js has it; `takesBitmaps`: send() takes an ImageBitmap, which then belongs to it. */
export function openStream({ detector }, { ready, answered, closed }) {
  let over = false;
  const end = () => {
    if (!over) closed(true);
    over = true;
  };
  load().then(() => over || ready(), end);
  return {
    takesBitmaps: true,
    send: (bitmap) => ask({ picture: bitmap, source: "frame", detector }, [bitmap]).then((image) => over || answered(image), end),
    close: () => (over = true),
  };
}

function load() {
  loaded ??= ask({}).catch((error) => {
    loaded = null; // the next question tries again
    throw error;
  });
  return loaded;
}

function ask(message, transfer = []) {
  worker ??= start();
  asked += 1;
  const id = asked;
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
    else reject(new Error(`This device can't do it: ${error}`));
  });
  started.addEventListener("error", (event) => {
    event.preventDefault();
    worker = loaded = null;
    for (const { reject } of waiting.values()) reject(new Error("What this device needs for it could not be loaded."));
    waiting.clear();
  });
  return started;
}
