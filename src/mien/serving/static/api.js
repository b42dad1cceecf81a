// Client of the server's API: requests, the stream of camera frames, uploads with progress. URLs are relative, so that
// the page works below a path. The token is kept here, in memory only.

let token = "";
let askForToken = async () => null;
let asking = null;

const RETRIES = 4; // after 503
const TOKEN_CHARACTERS = /^[A-Za-z0-9_.~-]{1,200}$/;
const REASONS = {
  401: "The server requires a token.",
  408: "The upload took too long.",
  413: "It exceeds this server's size limit.",
  503: "The server is busy. Try again in a moment.",
};

/** An error response; `message` is for people. status 0: the server can't be reached. */
export class ServerError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** ask(wasWrong) returns a token, or null if the user cancels. */
export function onTokenNeeded(ask) {
  askForToken = ask;
}

/** Whether requests carry a token. */
export function hasToken() {
  return token !== "";
}

/** Served models and detectors, and limits. */
export async function getModels() {
  return (await request("v1/models")).json();
}

/** Recognises one image: {model, image}. Retries while the server is busy. */
export async function predict(file, choice, signal) {
  const answer = await (await request(`v1/predict?${query(choice)}`, { method: "POST", body: form("files", file), signal })).json();
  return { model: answer.model, image: answer.images[0] };
}

/** A video job: {state, progress, seconds_left, error, summary, latest, removed_in_s}. */
export async function getVideo(id, signal) {
  return (await request(`v1/videos/${encodeURIComponent(id)}`, { signal })).json();
}

/** A job's file ("timeline.csv", "video.mp4", "upload"), as a Blob: a link can't carry a token. */
export async function getVideoFile(id, name, signal) {
  return (await request(`v1/videos/${encodeURIComponent(id)}/${name}`, { signal })).blob();
}

/**
 * Reads the frames of a job's frames.json one by one, as they arrive: with details, a long video has more than a page can
 * hold. onFrame gets each; onProgress the share of the file so far.
 */
export async function readFrames(id, { onFrame, onProgress, signal }) {
  const { body, headers } = await request(`v1/videos/${encodeURIComponent(id)}/frames.json`, { signal });
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let [received, rest] = [0, ""];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    received += value.length;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n"); // one has one frame
    rest = lines.pop();
    for (const line of lines) if (line.startsWith('{"frame"')) onFrame(JSON.parse(line.replace(/,$/, "")));
    onProgress(Math.min(1, received / Number(headers.get("content-length"))));
  }
}

/** Cancels a job and removes its files. */
export async function removeVideo(id) {
  try {
    await request(`v1/videos/${encodeURIComponent(id)}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) throw error; // it is removed already
  }
}

/** Uploads a video and returns the job's id. onProgress gets 0 to 1. */
export async function uploadVideo(file, choice, { onProgress, signal }) {
  return (await (await request(`v1/videos?${query(choice)}`, { method: "POST", body: form("file", file), signal, onProgress })).json()).id;
}

/**
 * Opens a stream of frames. send(blob) sends a frame. onReady: called when it is open. onResult: called with each result.
 * onClose: called unless the page closed it. Browsers hide why a server refused a stream.
 */
export function openStream(choice, { onReady, onResult, onClose }) {
  const address = new URL(`v1/stream?${query(choice)}`, document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address, token ? ["mien.v1", `mien.token.${token}`] : ["mien.v1"]);
  const listening = new AbortController();
  socket.addEventListener("open", onReady, listening);
  socket.addEventListener("message", ({ data }) => onResult(JSON.parse(data)), listening);
  socket.addEventListener("close", onClose, listening);
  return {
    send: (blob) => socket.readyState === WebSocket.OPEN && socket.send(blob),
    close: () => {
      listening.abort();
      socket.close();
    },
  };
}

/** Parameters as a query; empty ones are left out. */
export function query(choice) {
  return new URLSearchParams(Object.entries(choice).filter(([, value]) => value)).toString();
}

function form(name, file) {
  const body = new FormData();
  body.append(name, file, file.name || "upload");
  return body;
}

/** A response, after asking for a token and waiting for a busy server. options: of fetch, and onProgress for uploads. */
async function request(path, options = {}) {
  for (let tries = 0; ; tries += 1) {
    const sent = token;
    const headers = sent ? { authorization: `Bearer ${sent}` } : {};
    const send = options.onProgress ? sendWithProgress : fetch;
    const answer = await send(path, { ...options, headers, credentials: "same-origin", redirect: "error" }).catch((error) => {
      throw error.name === "AbortError" ? error : new ServerError(0, "The server can't be reached. Is it still running?");
    });
    if (answer.ok) return answer;
    if (answer.status === 401 && (sent !== token || (await newToken(Boolean(sent))))) continue;
    if (answer.status === 503 && tries < RETRIES && !options.onProgress) {
      await wait(1000 * Math.min(10, Number(answer.headers.get("retry-after")) || 2 ** tries), options.signal);
      continue;
    }
    const said = (await answer.json().catch(() => null))?.error?.message;
    throw new ServerError(answer.status, sentence(said ?? REASONS[answer.status] ?? `The server returned an error (${answer.status})`));
  }
}

/** Asks for a token, once for all waiting requests. Returns whether there is one to try. */
async function newToken(wasWrong) {
  asking ??= askForToken(wasWrong).finally(() => (asking = null));
  const given = await asking;
  if (given === null) return false;
  if (!TOKEN_CHARACTERS.test(given)) throw new ServerError(401, "This is not a token; expected letters, digits and -._~");
  token = given;
  return true;
}

/** fetch for uploads: it reports no progress of what it sends. */
function sendWithProgress(path, { method, body, headers, onProgress, signal }) {
  const sending = new XMLHttpRequest();
  sending.open(method, path);
  for (const [name, value] of Object.entries(headers)) sending.setRequestHeader(name, value);
  return new Promise((resolve, reject) => {
    sending.upload.addEventListener("progress", ({ loaded, total }) => onProgress(total ? loaded / total : 0));
    sending.addEventListener("load", () => resolve(new Response(sending.response, { status: sending.status })));
    sending.addEventListener("error", () => reject(new TypeError("no answer")));
    sending.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")));
    signal.addEventListener("abort", () => sending.abort(), { once: true });
    sending.send(body);
  });
}

function sentence(text) {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}

/** Waits; rejects when `signal` is aborted. */
export function wait(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
