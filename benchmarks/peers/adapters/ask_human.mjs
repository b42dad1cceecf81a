// `@vladmandic/human` on TensorFlow.js with the WebAssembly backend. Crops go to its emotion network alone, in
// batches, prepared as its own source does it; photos to `detect` with everything but faces and emotions turned off.

import { pathToFileURL } from 'node:url';

import { installed, main, readImage, require } from './protocol.mjs';

const off = { enabled: false };

async function load() {
  const { Human } = require(installed('@vladmandic/human/dist/human.node-wasm.js'));
  const human = new Human({
    backend: 'wasm',
    wasmPath: installed('@tensorflow/tfjs-backend-wasm/dist/'),
    modelBasePath: `${pathToFileURL(installed('@vladmandic/human/models'))}/`,
    cacheSensitivity: 0,
    body: off,
    hand: off,
    object: off,
    gesture: off,
    face: { detector: { maxDetected: 50 }, emotion: { minConfidence: 0 }, iris: off, description: off },
  });
  await human.init();
  await human.load();
  const { tf } = human;
  if (tf.getBackend() !== 'wasm') throw new Error(`expected the backend wasm; it is ${tf.getBackend()}`);
  const labels = ['angry', 'disgust', 'fear', 'happy', 'sad', 'surprise', 'neutral'];

  async function classify(faces) {
    const scores = tf.tidy(() => {
      const pixels = new Float32Array(faces.length * 48 * 48);
      faces.forEach((face, i) => pixels.set(face, i * 48 * 48));
      const grey = tf.div(tf.tensor4d(pixels, [faces.length, 48, 48, 1]), 255);
      const resized = tf.image.resizeBilinear(grey, [64, 64], false);
      return human.models.models.emotion.execute(tf.mul(tf.sub(resized, 0.5), 2));
    });
    const rows = await scores.array();
    scores.dispose();
    return rows;
  }

  async function find(photo) {
    const { data, height, width } = await readImage(photo);
    const image = tf.tensor3d(new Int32Array(data), [height, width, 3], 'int32');
    const { face, error } = await human.detect(image);
    image.dispose();
    if (error) throw new Error(error);
    return face.map((one) => one.emotion[0].emotion);
  }

  return { labels, classify, find };
}

await main(load);
