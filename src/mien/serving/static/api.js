// Client of the server's API: requests, the stream of camera frames, uploads with progress. URLs are relative, so that
// the page works below a path. The token is kept here, in memory only.

let token = "";
let askForToken = async () => null;
let asking = null;

const RETRIES = 4; // after 503
const TOKEN_CHARACTERS = /^[A-Za-z0-9_.~-]{1,200}$/;

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
  const body = new FormData();
  body.append("files", file, file.name || "image");
  const answer = await (await request(`v1/predict?${query(choice)}`, { method: "POST", body, signal })).json();
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

/** Cancels a job and removes its files. */
export async function removeVideo(id) {
  try {
    await request(`v1/videos/${encodeURIComponent(id)}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) throw error; // it is removed already
  }
}

/** Uploads a video and returns the job's id. onProgress gets 0 to 1; fetch reports no upload progress. */
export async function uploadVideo(file, choice, { onProgress, signal }) {
  for (;;) {
    const sent = token;
    const { status, body } = await upload(`v1/videos?${query(choice)}`, file, { onProgress, signal });
    if (status === 401 && (await newToken(Boolean(sent)))) continue;
    if (status < 200 || status > 299) throw new ServerError(status, explain(status, body));
    return body.id;
  }
}

/**
 * Opens a stream of frames. send(blob) sends a frame. onReady: called when it is open. onResult: called with each result.
 * onClose: called once. Browsers hide why a server refused a stream.
 */
export function openStream(choice, { onReady, onResult, onClose }) {
  const address = new URL(`v1/stream?${query(choice)}`, document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address, token ? ["mien.v1", `mien.token.${token}`] : ["mien.v1"]);
  let over = false;
  socket.addEventListener("open", () => {
    if (!over) onReady();
  });
  socket.addEventListener("message", (event) => over || onResult(JSON.parse(event.data)));
  socket.addEventListener("close", () => {
    if (!over) onClose();
    over = true;
  });
  return {
    send: (blob) => socket.readyState === WebSocket.OPEN && socket.send(blob),
    close: () => {
      over = true;
      socket.close();
    },
  };
}

/** Parameters as a query; empty ones are left out. */
export function query(choice) {
  const named = Object.entries(choice).filter(([, value]) => value);
  return new URLSearchParams(named).toString();
}

async function request(path, options = {}) {
  for (let tries = 0; ; tries += 1) {
    const sent = token;
    const headers = sent ? { authorization: `Bearer ${sent}` } : {};
    let answer;
    try {
      answer = await fetch(path, { ...options, headers, credentials: "same-origin", redirect: "error" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError(0, "The server can't be reached. Is it still running?");
    }
    if (answer.ok) return answer;
    if (answer.status === 401 && (sent !== token || (await newToken(Boolean(sent))))) continue;
    if (answer.status === 503 && tries < RETRIES) {
      await wait(1000 * Math.min(10, Number(answer.headers.get("retry-after")) || 2 ** tries), options.signal);
      continue;
    }
    throw new ServerError(answer.status, explain(answer.status, await answer.json().catch(() => null)));
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

function upload(path, file, { onProgress, signal }) {
  const body = new FormData();
  body.append("file", file, file.name || "video");
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    sending.open("POST", path);
    sending.responseType = "json";
    if (token) sending.setRequestHeader("authorization", `Bearer ${token}`);
    sending.upload.addEventListener("progress", (event) => onProgress(event.total ? event.loaded / event.total : 0));
    sending.addEventListener("load", () => resolve({ status: sending.status, body: sending.response }));
    sending.addEventListener("error", () => reject(new ServerError(0, "The server ended the upload.")));
    sending.addEventListener("abort", () => reject(new DOMException("cancelled", "AbortError")));
    signal.addEventListener("abort", () => sending.abort(), { once: true });
    sending.send(body);
  });
}

/** The server's message as a sentence, or a text for the status. */
function explain(status, body) {
  const message = body?.error?.message;
  const plain = {
    401: "The server requires a token.",
    408: "The upload took too long.",
    413: "It exceeds this server's size limit.",
    503: "The server is busy. Try again in a moment.",
  }[status];
  if (message) return sentence(message);
  return plain ?? `The server returned an error (${status}).`;
}

function sentence(text) {
  const capital = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}

function wait(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    const abort = () => {
      clearTimeout(timer);
      reject(new DOMException("cancelled", "AbortError"));
    };
    signal?.addEventListener("abort", abort, { once: true });
  });
}
