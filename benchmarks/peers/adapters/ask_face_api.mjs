// `@vladmandic/face-api` on TensorFlow.js with the WebAssembly backend: its expression network on whole crops, in
// batches; for photos its default detector, SSD MobileNet V1.

import { installed, main, readImage, require } from './protocol.mjs';

async function load() {
  require('@tensorflow/tfjs');
  require('@tensorflow/tfjs-backend-wasm').setWasmPaths(installed('@tensorflow/tfjs-backend-wasm/dist/'));
  const faceapi = require(installed('@vladmandic/face-api/dist/face-api.node-wasm.js'));
  await faceapi.tf.setBackend('wasm');
  await faceapi.tf.ready();
  const weights = installed('@vladmandic/face-api/model');
  await faceapi.nets.faceExpressionNet.loadFromDisk(weights);
  await faceapi.nets.ssdMobilenetv1.loadFromDisk(weights);
  if (faceapi.tf.getBackend() !== 'wasm') throw new Error(`expected the backend wasm; it is ${faceapi.tf.getBackend()}`);
  const labels = ['neutral', 'happy', 'sad', 'angry', 'fearful', 'disgusted', 'surprised'];

  async function classify(faces) {
    const images = faces.map((face) => {
      const rgb = new Int32Array(face.length * 3);
      face.forEach((value, i) => rgb.fill(value, 3 * i, 3 * i + 3));
      return faceapi.tf.tensor3d(rgb, [48, 48, 3], 'int32');
    });
    const said = await faceapi.nets.faceExpressionNet.predictExpressions(images);
    faceapi.tf.dispose(images);
    return said.map((expressions) => labels.map((label) => expressions[label]));
  }

  async function find(photo) {
    const { data, height, width } = await readImage(photo);
    const image = faceapi.tf.tensor3d(new Int32Array(data), [height, width, 3], 'int32');
    const faces = await faceapi.detectAllFaces(image).withFaceExpressions();
    image.dispose();
    return faces.map((face) => face.expressions.asSortedArray()[0].expression);
  }

  return { labels, classify, find };
}

await main(load);
