// The code for what was just done: the same request with curl, Python and JavaScript.

import { hasToken, query } from "./api.js";
import { $, make, makeButton } from "./design/parts.js";
import { settings } from "./settings.js";

const TOKEN = "MIEN_TOKEN";

/** Shows the dialog. what: "images", "camera" or "video". names: of the files. */
export function showCode(what, names) {
  const choice = query({ model: settings.model, detector: settings.detector });
  const base = new URL(".", location.href).href;
  const made = { images, camera, video }[what](`${base}v1/`, choice, names);
  const sections = Object.entries(made).map(([language, text]) => {
    const copy = makeButton("Copy", async () => {
      await navigator.clipboard.writeText(text).then(() => (copy.textContent = "Copied"), () => (copy.textContent = "Select and copy"));
    });
    copy.setAttribute("aria-label", `Copy ${language}`);
    const code = make("pre", "", text);
    code.tabIndex = 0; // it can be scrolled with the keyboard
    code.setAttribute("aria-label", language);
    return make("section", "", make("header", "", make("h3", "", language), copy), code);
  });
  $("code-list").replaceChildren(...sections);
  $("code-token").hidden = !hasToken();
  $("code-dialog").showModal();
}

function images(base, choice, names) {
  const url = `${base}predict?${choice}`;
  return {
    curl: ["curl", ...curlToken(), ...names.map((name) => `-F ${shell(`files=@${curlFile(name)}`)}`), shell(url)].join(" "),
    Python: `${pythonHead()}
paths = [${names.map(python).join(", ")}]
files = [("files", open(path, "rb")) for path in paths]
response = httpx.post(${python(url)}, files=files${pythonToken()}, timeout=60)
for image in response.raise_for_status().json()["images"]:
    print(image["source"], [(face["expression"], face["confidence"]) for face in image["faces"]])`,
    JavaScript: `const body = new FormData();
for (const file of input.files) body.append("files", file); // input: <input type="file" multiple>
const response = await fetch(${JSON.stringify(url)}, { method: "POST", body${scriptToken()} });
const { images } = await response.json();`,
  };
}

function camera(base, choice) {
  const socket = `${base.replace(/^http/, "ws")}stream?${choice}`;
  const offered = hasToken() ? `["mien.v1", "mien.token." + ${TOKEN}]` : `["mien.v1"]`;
  return {
    curl: ["curl", ...curlToken(), "--data-binary @frame.jpg", shell(`${base}predict?${choice}`)].join(" "),
    Python: `${hasToken() ? "import os\n" : ""}import json
from websockets.sync.client import connect

subprotocols = ["mien.v1"${hasToken() ? `, "mien.token." + os.environ["${TOKEN}"]` : ""}]
with connect(${python(socket)}, subprotocols=subprotocols) as stream:
    stream.send(open("frame.jpg", "rb").read())
    print(json.loads(stream.recv())["faces"])`,
    JavaScript: `const stream = new WebSocket(${JSON.stringify(socket)}, ${offered});
stream.onopen = () => stream.send(jpeg); // a Blob; send the next frame after the result
stream.onmessage = ({ data }) => console.log(JSON.parse(data).faces);`,
  };
}

function video(base, choice, [name]) {
  const url = `${base}videos?${choice}`;
  return {
    curl: `${["curl", ...curlToken(), `-F ${shell(`file=@${curlFile(name)}`)}`, shell(url)].join(" ")}
${["curl", ...curlToken(), shell(`${base}videos/ID`)].join(" ")}   # until its state is done
${["curl", ...curlToken(), "-O", shell(`${base}videos/ID/timeline.csv`)].join(" ")}`,
    Python: `${pythonHead()}
import time

with open(${python(name)}, "rb") as file:
    job = httpx.post(${python(url)}, files={"file": file}${pythonToken()}, timeout=600).raise_for_status().json()
address = ${python(`${base}videos/`)} + job["id"]
while job["state"] in ("queued", "running"):
    time.sleep(1)
    job = httpx.get(address${pythonToken()}).raise_for_status().json()
print(job["summary"])
timeline = httpx.get(address + "/timeline.csv"${pythonToken()}).text`,
    JavaScript: `const body = new FormData();
body.append("file", input.files[0]); // input: <input type="file">
let job = await (await fetch(${JSON.stringify(url)}, { method: "POST", body${scriptToken()} })).json();
while (["queued", "running"].includes(job.state)) {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  job = await (await fetch(\`${base}videos/\${job.id}\`${hasToken() ? `, { ${scriptToken().slice(2)} }` : ""})).json();
}
console.log(job.summary);`,
  };
}

function curlToken() {
  return hasToken() ? [`-H "Authorization: Bearer $${TOKEN}"`] : [];
}

function pythonHead() {
  return `${hasToken() ? "import os\n" : ""}import httpx\n`;
}

function pythonToken() {
  return hasToken() ? `, headers={"Authorization": "Bearer " + os.environ["${TOKEN}"]}` : "";
}

function scriptToken() {
  return hasToken() ? `, headers: { authorization: \`Bearer \${${TOKEN}}\` }` : "";
}

/** A text as one word of a shell. */
function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** A file's name as curl's -F takes it: quoted, as semicolons and commas end a name. */
function curlFile(name) {
  return /[;,"\\]/.test(name) ? `"${name.replace(/["\\]/g, String.raw`\$&`)}"` : name;
}

/** A text as a literal of Python. */
function python(text) {
  return JSON.stringify(text);
}
