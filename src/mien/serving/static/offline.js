// Keeps an exported page at hand without a network: a service worker that holds the files of manifest.json, each with
// the checksum that stands there. Every export has its own RELEASE, by which a browser sees that there is a newer one.

const RELEASE = "development";
const PREFIX = `mien ${registration.scope} `; // other exports may lie on the same host
const NAME = PREFIX + RELEASE;

addEventListener("install", (event) => event.waitUntil(hold()));
addEventListener("activate", (event) => event.waitUntil(takeOver()));
addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

async function hold() {
  const cache = await caches.open(NAME);
  const { files } = await (await fetch("manifest.json", { cache: "no-cache" })).json();
  // The headers' file is for the host, which may not show it.
  const wanted = files.filter(({ path }) => path !== "_headers" && path !== "offline.js");
  await Promise.all(
    wanted.map(async ({ path, sha256 }) => {
      // Some hosts redirect from index.html, and a redirected answer can't open a page.
      const address = path === "index.html" ? "./" : path;
      await cache.put(address, await fetch(address, { cache: "no-cache", integrity: integrityOf(sha256) }));
    }),
  );
}

async function takeOver() {
  const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== NAME);
  await Promise.all(old.map((name) => caches.delete(name)));
  await clients.claim();
}

async function answer(request) {
  const cache = await caches.open(NAME);
  const isIndex = request.url.split(/[?#]/)[0] === `${registration.scope}index.html`;
  const held = await cache.match(isIndex ? "./" : request, { ignoreSearch: true });
  return held ?? fetch(request);
}

/** A checksum in hexadecimal digits as fetch takes it. */
function integrityOf(sha256) {
  const bytes = sha256.match(/../g).map((digits) => parseInt(digits, 16));
  return `sha256-${btoa(String.fromCharCode(...bytes))}`;
}
