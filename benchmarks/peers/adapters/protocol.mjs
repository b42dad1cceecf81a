// What the adapters of the Node peers share; the tasks, arguments and files are those of protocol.py.
// Packages are found in the folder that the adapter is run in.

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, join } from 'node:path';

export const require = createRequire(join(process.cwd(), 'package.json'));
export const installed = (path) => join(process.cwd(), 'node_modules', path);

const SIDE = 48;
const BATCH = 64;
const SECONDS = 2;

// Loaders of both peers ask `fetch` for their weights; in Node it does not read files.
const overNetwork = globalThis.fetch;
globalThis.fetch = async (url, ...rest) =>
  String(url).startsWith('file://') ? new Response(readFileSync(new URL(url))) : overNetwork(url, ...rest);

/** The pixels of an image file, RGB. */
export async function readImage(file) {
  const { data, info } = await require('sharp')(file).removeAlpha().toColourspace('srgb').raw()
    .toBuffer({ resolveWithObject: true });
  return { data, height: info.height, width: info.width };
}

/** Grey crops as Uint8Arrays of 48 x 48. */
function readFaces(file) {
  const bytes = readFileSync(file);
  const count = Math.floor(bytes.length / (SIDE * SIDE));
  return Array.from({ length: count }, (_, i) => new Uint8Array(bytes.subarray(i * SIDE * SIDE, (i + 1) * SIDE * SIDE)));
}

const chunks = (faces) =>
  Array.from({ length: Math.ceil(faces.length / BATCH) }, (_, i) => faces.slice(i * BATCH, (i + 1) * BATCH));

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

async function repeat(work, atLeast) {
  const times = [];
  const processor = process.cpuUsage();
  const begun = performance.now();
  while (times.length < atLeast || performance.now() - begun < SECONDS * 1000) {
    const started = performance.now();
    await work(times.length);
    times.push((performance.now() - started) / 1000);
  }
  const { user, system } = process.cpuUsage(processor);
  return { seconds: median(times), busy: (user + system) / 1e3 / (performance.now() - begun) };
}

async function speed(peer, faces, photo) {
  const batches = chunks(faces).filter((batch) => batch.length === BATCH);
  await peer.classify(batches[0]);
  const classified = await repeat((i) => peer.classify(batches[i % batches.length]), 3);
  await peer.find(photo);
  const found = await repeat(() => peer.find(photo), 5);
  return { faces_per_s: BATCH / classified.seconds, cores_busy: classified.busy, photo_ms: found.seconds * 1000 };
}

/**
 * load(variant) gives { labels, classify(faces) -> rows of numbers, find(photo) -> labels of the faces found }.
 */
export async function main(load) {
  const [variant, task, out, ...files] = process.argv.slice(2);
  const peer = await load(variant);
  let answer;
  if (task === 'photos') {
    answer = { faces: {} };
    for (const photo of files) answer.faces[basename(photo)] = await peer.find(photo);
  } else if (task === 'answers') {
    const probabilities = [];
    for (const batch of chunks(readFaces(files[0]))) probabilities.push(...(await peer.classify(batch)));
    answer = { labels: peer.labels, probabilities };
  } else {
    answer = await speed(peer, readFaces(files[0]), files[1]);
  }
  writeFileSync(out, JSON.stringify(answer));
}
