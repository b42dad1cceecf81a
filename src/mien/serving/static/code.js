// The code for what was just done: the same request with curl, Python and JavaScript.

import { hasToken, query } from "./api.js";
import { $, make, makeButton, set } from "./design/parts.js";
import { settings } from "./settings.js";

/** Shows the dialog. what: "images", "camera" or "video". names: of the files. */
export function showCode(what, names) {
  const base = new URL("v1/", document.baseURI).href;
  const made = { images, camera, video }[what]({ base, names, choice: query(settings.choice), ...tokens(hasToken()) });
  const sections = Object.entries(made).map(([language, text]) => {
    const copy = makeButton("Copy", async () => {
      await navigator.clipboard.writeText(text).then(() => (copy.textContent = "Copied"), () => (copy.textContent = "Select and copy"));
    });
    set(copy, { "aria-label": `Copy ${language}` });
    const code = set(make("pre", "", text), { "aria-label": language, tabindex: 0 }); // the keyboard can scroll it
    return make("section", "", make("header", "", make("h3", "", language), copy), code);
  });
  $("code-list").replaceChildren(...sections);
  $("code-token").hidden = !hasToken();
  $("code-dialog").showModal();
}

/** What a token adds to the code of each language: arguments of a request, imports, a subprotocol. */
function tokens(needed) {
  return {
    curl: needed ? `curl -H "Authorization: Bearer $MIEN_TOKEN"` : "curl",
    imports: needed ? "import os\n" : "",
    python: needed ? `, headers={"Authorization": "Bearer " + os.environ["MIEN_TOKEN"]}` : "",
    pythonProtocol: needed ? `, "mien.token." + os.environ["MIEN_TOKEN"]` : "",
    script: needed ? ", headers: { authorization: `Bearer ${MIEN_TOKEN}` }" : "",
    scriptProtocol: needed ? `, "mien.token." + MIEN_TOKEN` : "",
  };
}

function images({ base, names, choice, curl, imports, python, script }) {
  const url = `${base}predict?${choice}`;
  return {
    curl: [curl, ...names.map((name) => `-F ${shell(`files=@${curlFile(name)}`)}`), shell(url)].join(" "),
    Python: `${imports}import httpx

paths = [${names.map(literal).join(", ")}]
files = [("files", open(path, "rb")) for path in paths]
response = httpx.post(${literal(url)}, files=files${python}, timeout=60)
for image in response.raise_for_status().json()["images"]:
    print(image["source"], [(face["expression"], face["confidence"]) for face in image["faces"]])`,
    JavaScript: `const body = new FormData();
for (const file of input.files) body.append("files", file); // input: <input type="file" multiple>
const response = await fetch(${literal(url)}, { method: "POST", body${script} });
const { images } = await response.json();`,
  };
}

function camera({ base, choice, curl, imports, pythonProtocol, scriptProtocol }) {
  const socket = literal(`${base.replace(/^http/, "ws")}stream?${choice}`);
  return {
    curl: `${curl} --data-binary @frame.jpg ${shell(`${base}predict?${choice}`)}`,
    Python: `${imports}import json
from websockets.sync.client import connect

with connect(${socket}, subprotocols=["mien.v1"${pythonProtocol}]) as stream:
    stream.send(open("frame.jpg", "rb").read())
    print(json.loads(stream.recv())["faces"])`,
    JavaScript: `const stream = new WebSocket(${socket}, ["mien.v1"${scriptProtocol}]);
stream.onopen = () => stream.send(jpeg); // a Blob; send the next frame after the result
stream.onmessage = ({ data }) => console.log(JSON.parse(data).faces);`,
  };
}

function video({ base, names: [name], choice, curl, imports, python, script }) {
  const url = `${base}videos?${choice}`;
  return {
    curl: `${curl} -F ${shell(`file=@${curlFile(name)}`)} ${shell(url)}
${curl} ${shell(`${base}videos/ID`)}   # until its state is done
${curl} -O ${shell(`${base}videos/ID/timeline.csv`)}`,
    Python: `${imports}import time
import httpx

with open(${literal(name)}, "rb") as file:
    job = httpx.post(${literal(url)}, files={"file": file}${python}, timeout=600).raise_for_status().json()
address = ${literal(`${base}videos/`)} + job["id"]
while job["state"] in ("queued", "running"):
    time.sleep(1)
    job = httpx.get(address${python}).raise_for_status().json()
print(job["summary"])
timeline = httpx.get(address + "/timeline.csv"${python}).text`,
    JavaScript: `const body = new FormData();
body.append("file", input.files[0]); // input: <input type="file">
let job = await (await fetch(${literal(url)}, { method: "POST", body${script} })).json();
while (["queued", "running"].includes(job.state)) {
  await new Promise((resolve) => setTimeout(resolve, 1000));
  job = await (await fetch(\`${base}videos/\${job.id}\`${script ? `, { ${script.slice(2)} }` : ""})).json();
}
console.log(job.summary);`,
  };
}

/** A text as one word of a shell. */
function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** A file's name as curl's -F takes it: quoted, as semicolons and commas end a name. */
function curlFile(name) {
  return /[;,"\\]/.test(name) ? `"${name.replace(/["\\]/g, String.raw`\$&`)}"` : name;
}

/** A text as a literal of Python and JavaScript. */
function literal(text) {
  return JSON.stringify(text);
}
