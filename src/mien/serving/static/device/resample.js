// Resampling of images as OpenCV does it for 8 bits, with its fixed-point steps: the networks were trained on such pixels.
// An image is {data: Uint8Array (RGB, row by row), width, height}, upright, 0 to 255.

const CHANNELS = 3;
const WEIGHT = 2048; // one, as the fixed-point weight of a resized pixel
const PLACES = 32; // a warped pixel's place is known to 1/32 of a pixel
const CUBIC = -0.75; // the free parameter of the cubic curve

/** An image of zeros. */
export function blank(width, height) {
  return { data: new Uint8Array(width * height * CHANNELS), width, height };
}

/** What a canvas gives (RGBA) as an image; what is transparent lies on white. */
export function fromRgba({ data, width, height }) {
  const image = blank(width, height);
  for (let from = 0, to = 0; from < data.length; from += 4, to += CHANNELS) {
    const alpha = data[from + 3];
    for (let c = 0; c < CHANNELS; c += 1) {
      const value = data[from + c];
      image.data[to + c] = alpha === 255 ? value : Math.floor((value * alpha + 255 * (255 - alpha) + 127) / 255);
    }
  }
  return image;
}

/** Returns the nearest integer, halves to the even one, as Python and OpenCV do. */
export function roundEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  return rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
}

/** The part x1 <= x < x2, y1 <= y < y2 of an image. Outside of it the edge pixels repeat, or all is black. */
export function cut(image, x1, y1, x2, y2, { repeat = true } = {}) {
  const part = blank(x2 - x1, y2 - y1);
  for (let y = y1, to = 0; y < y2; y += 1) {
    const row = clamp(y, image.height) * image.width;
    for (let x = x1; x < x2; x += 1, to += CHANNELS) {
      if (!repeat && (x >= image.width || y >= image.height)) continue;
      const at = (row + clamp(x, image.width)) * CHANNELS;
      for (let c = 0; c < CHANNELS; c += 1) part.data[to + c] = image.data[at + c];
    }
  }
  return part;
}

/** Makes an image smaller: each new pixel is the mean of the area that it covers (INTER_AREA). */
export function resizeArea(image, width, height) {
  if (width === image.width && height === image.height) return image;
  const halves = width * 2 === image.width && height * 2 === image.height;
  return weigh(image, areaTaps(image.width, width), areaTaps(image.height, height), halves ? Math.round : roundEven);
}

/** Resizes with cubic curves through the pixels (INTER_CUBIC). */
export function resizeCubic(image, width, height) {
  return weigh(image, cubicTaps(image.width, width), cubicTaps(image.height, height), to8Bits);
}

/** Each new pixel as a weighted sum along both axes. across, down: for each new column and row its [old index, weight]s. */
function weigh(image, across, down, toByte) {
  const out = blank(across.length, down.length);
  const row = across.length * CHANNELS;
  const lines = new Float32Array(image.height * row);
  for (let y = 0, to = 0; y < image.height; y += 1) {
    const start = y * image.width * CHANNELS;
    for (const taps of across) {
      let [red, green, blue] = [0, 0, 0];
      for (const [index, weight] of taps) {
        const at = start + index * CHANNELS;
        red += weight * image.data[at];
        green += weight * image.data[at + 1];
        blue += weight * image.data[at + 2];
      }
      lines[to++] = red;
      lines[to++] = green;
      lines[to++] = blue;
    }
  }
  down.forEach((taps, y) => {
    for (let i = 0; i < row; i += 1) {
      let sum = 0;
      for (const [index, weight] of taps) sum += weight * lines[index * row + i];
      out.data[y * row + i] = toByte(sum);
    }
  });
  return out;
}

/**
 * A square of side n, each pixel taken from the place in the image to which the matrix [a, b, c, d, e, f] maps it:
 * (a x + b y + c, d x + e y + f). Border pixels are repeated. cubic: with cubic curves, else with straight lines.
 */
export function warp(image, matrix, n, { cubic }) {
  const out = blank(n, n);
  const [a, b, c, d, e, f] = matrix;
  const taps = cubic ? CUBIC_TAPS : LINEAR_TAPS;
  const size = taps[0].length;
  const before = size / 2 - 1;
  const { data, width, height } = image;
  for (let y = 0; y < n; y += 1) {
    const [startX, startY] = [roundEven((b * y + c) * 1024) + 16, roundEven((e * y + f) * 1024) + 16];
    for (let x = 0; x < n; x += 1) {
      const placeX = (startX + roundEven(a * x * 1024)) >> 5;
      const placeY = (startY + roundEven(d * x * 1024)) >> 5;
      const acrossWeights = taps[placeX & (PLACES - 1)];
      const downWeights = taps[placeY & (PLACES - 1)];
      const [left, top] = [(placeX >> 5) - before, (placeY >> 5) - before];
      let [red, green, blue] = [0, 0, 0];
      for (let j = 0; j < size; j += 1) {
        const row = clamp(top + j, height) * width;
        for (let i = 0; i < size; i += 1) {
          const weight = downWeights[j] * acrossWeights[i];
          const at = (row + clamp(left + i, width)) * CHANNELS;
          red += weight * data[at];
          green += weight * data[at + 1];
          blue += weight * data[at + 2];
        }
      }
      const to = (y * n + x) * CHANNELS;
      out.data[to] = to8Bits(red);
      out.data[to + 1] = to8Bits(green);
      out.data[to + 2] = to8Bits(blue);
    }
  }
  return out;
}

/** An image's luma (ITU-R BT.601), the same in all channels. */
export function toGrey({ data, width, height }) {
  const grey = blank(width, height);
  for (let at = 0; at < data.length; at += CHANNELS) {
    grey.data.fill((data[at] * 9798 + data[at + 1] * 19235 + data[at + 2] * 3735 + 16384) >> 15, at, at + CHANNELS);
  }
  return grey;
}

const LINEAR_TAPS = Array.from({ length: PLACES }, (_, i) => [1 - i / PLACES, i / PLACES]);
const CUBIC_TAPS = Array.from({ length: PLACES }, (_, i) => cubicWeights(i / PLACES));

/** The weights of the four pixels around a place that lies `share` of the way from the second to the third. */
function cubicWeights(share) {
  const outer = (x) => ((CUBIC * x - 5 * CUBIC) * x + 8 * CUBIC) * x - 4 * CUBIC;
  const inner = (x) => ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1;
  const weights = [outer(share + 1), inner(share), inner(1 - share)];
  return [...weights, 1 - weights[0] - weights[1] - weights[2]];
}

/** For each new pixel the old ones that it covers, and how much of it each fills. */
function areaTaps(length, wanted) {
  const scale = length / wanted;
  return Array.from({ length: wanted }, (_, i) => {
    const [begin, end] = [i * scale, (i + 1) * scale];
    const covered = Math.min(scale, length - begin);
    const last = Math.min(Math.floor(end), length - 1);
    const first = Math.min(Math.ceil(begin), last);
    const taps = [];
    for (let k = first; k < last; k += 1) taps.push([k, 1 / covered]);
    if (first - begin > 1e-3) taps.unshift([first - 1, (first - begin) / covered]);
    if (end - last > 1e-3) taps.push([last, Math.min(end - last, 1, covered) / covered]);
    return taps.map(([index, weight]) => [index, Math.fround(weight)]);
  });
}

/** For each new pixel the four old ones around it, with weights in whole steps. */
function cubicTaps(length, wanted) {
  return Array.from({ length: wanted }, (_, i) => {
    const place = Math.fround((i + 0.5) * (length / wanted) - 0.5);
    const low = Math.floor(place);
    return cubicWeights(place - low).map((weight, k) => [clamp(low - 1 + k, length), roundEven(weight * WEIGHT) / WEIGHT]);
  });
}

function clamp(index, length) {
  return index < 0 ? 0 : index >= length ? length - 1 : index;
}

function to8Bits(value) {
  return value <= 0 ? 0 : value >= 255 ? 255 : roundEven(value);
}

/** A number as JSON has it. */
export function rounded(value, digits) {
  return Number(value.toFixed(digits));
}
