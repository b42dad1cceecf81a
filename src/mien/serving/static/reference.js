// The page of the API: its operations as the OpenAPI document has them, each with a form that sends the request.

import { $, make, set } from "./design/parts.js";

const MOST_SHOWN = 20_000; // characters of an answer

function operation(path, method, { summary, description, parameters = [], requestBody, responses }) {
  const title = make("summary", "", make("code", `method ${method}`, method.toUpperCase()), make("code", "", path), make("span", "", summary ?? ""));
  const body = make("div", "");
  if (description) body.append(make("p", "", description));
  const fields = parameters.map((parameter) => field(parameter.name, parameter.schema, parameter.description, parameter.in));
  if (requestBody) {
    const kinds = Object.keys(requestBody.content).join(", ");
    body.append(make("p", "hint", `Body: ${requestBody.description} (${kinds})`));
    fields.push({ ...field("body", {}, "a file, sent as it is", "body"), isFile: true });
    fields.at(-1).input.type = "file";
  }
  const answers = Object.entries(responses).map(([status, { description: text }]) => make("li", "", make("code", "", status), ` ${text}`));
  const output = set(make("pre", "output"), { "aria-label": "Answer", tabindex: 0, hidden: "" });
  const form = make("form", "", ...fields.map(({ row }) => row), make("button", "primary", "Send"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    output.hidden = false;
    output.textContent = "…";
    output.textContent = await send(path, method, fields).catch((error) => `No answer: ${error.message}`);
  });
  body.append(form, output, make("details", "", make("summary", "", "Answers"), make("ul", "", ...answers)));
  return make("details", "operation", title, body);
}

function field(name, schema, description, place) {
  const choices = (schema?.enum ?? schema?.anyOf?.find((each) => each.enum)?.enum)?.map((value) => new Option(value));
  const input = choices ? make("select", "", new Option(""), ...choices) : make("input");
  if (schema?.type === "boolean") input.type = "checkbox";
  input.required = place === "path" || place === "body";
  return { name, place, input, row: make("label", "", make("code", "", name), input, make("span", "hint", description ?? "")) };
}

async function send(path, method, fields) {
  let address = path;
  let body;
  const query = new URLSearchParams();
  for (const { name, place, input } of fields) {
    const value = input.type === "checkbox" ? (input.checked ? "1" : "") : input.value;
    if (place === "path") address = address.replace(`{${name}}`, encodeURIComponent(value));
    else if (place === "body") [body] = input.files;
    else if (value) query.set(name, value);
  }
  const token = $("token").value.trim();
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const answer = await fetch(`${address.slice(1)}${query.size ? `?${query}` : ""}`, { method, body, headers });
  const kind = answer.headers.get("content-type") ?? "";
  const head = `${answer.status} ${kind}\n\n`;
  if (!/json|text/.test(kind)) return `${head}${(await answer.blob()).size} bytes`;
  const text = await answer.text();
  const shown = kind.includes("application/json") ? JSON.stringify(JSON.parse(text), null, 1) : text;
  return head + shown.slice(0, MOST_SHOWN) + (shown.length > MOST_SHOWN ? "\n…" : "");
}

try {
  const { info, paths } = await (await fetch("v1/openapi.json")).json();
  $("about").textContent = `mien ${info.version}. ${info.description}`;
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, details] of Object.entries(methods)) $("operations").append(operation(path, method, details));
  }
} catch {
  $("problem").textContent = "The server can't be reached; reload this page to try again.";
}
