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

/** The part x1 <= x < x2, y1 <= y < y2 of an image, which lies inside it. */
export function cut(image, x1, y1, x2, y2) {
  const part = blank(x2 - x1, y2 - y1);
  const length = part.width * CHANNELS;
  for (let y = y1; y < y2; y += 1) {
    const start = (y * image.width + x1) * CHANNELS;
    part.data.set(image.data.subarray(start, start + length), (y - y1) * length);
  }
  return part;
}

/** Adds a border of the given widths in pixels: the edge pixels repeated, or one grey value. */
export function withBorder(image, { left, top, right, bottom }, grey = null) {
  const { width, height } = image;
  const out = blank(width + left + right, height + top + bottom);
  if (grey !== null) out.data.fill(grey);
  for (let y = 0; y < out.height; y += 1) {
    const inside = y >= top && y < top + height;
    if (grey !== null && !inside) continue;
    const row = clamp(y - top, height) * width * CHANNELS;
    const line = y * out.width * CHANNELS;
    out.data.set(image.data.subarray(row, row + width * CHANNELS), line + left * CHANNELS);
    if (grey !== null) continue;
    for (let x = 0; x < left; x += 1) copyPixel(image.data, row, out.data, line + x * CHANNELS);
    const last = row + (width - 1) * CHANNELS;
    for (let x = left + width; x < out.width; x += 1) copyPixel(image.data, last, out.data, line + x * CHANNELS);
  }
  return out;
}

/** Makes an image smaller: each new pixel is the mean of the area that it covers (INTER_AREA). */
export function resizeArea(image, width, height) {
  if (width === image.width && height === image.height) return image;
  if (width * 2 === image.width && height * 2 === image.height) return halved(image);
  const out = blank(width, height);
  const across = areaTable(image.width, width);
  const down = areaTable(image.height, height);
  const line = new Float32Array(width * CHANNELS);
  const sum = new Float32Array(width * CHANNELS);
  let lineOf = -1;
  for (let y = 0; y < height; y += 1) {
    sum.fill(0);
    for (let k = down.starts[y]; k < down.starts[y + 1]; k += 1) {
      if (down.from[k] !== lineOf) {
        lineOf = down.from[k];
        shrinkLine(image.data, lineOf * image.width * CHANNELS, across, line);
      }
      const weight = down.weights[k];
      for (let i = 0; i < sum.length; i += 1) sum[i] += weight * line[i];
    }
    const start = y * sum.length;
    for (let i = 0; i < sum.length; i += 1) out.data[start + i] = roundEven(sum[i]);
  }
  return out;
}

/** Resizes with cubic curves through the pixels (INTER_CUBIC). */
export function resizeCubic(image, width, height) {
  const out = blank(width, height);
  const across = cubicTable(image.width, width);
  const down = cubicTable(image.height, height);
  const line = new Float64Array(image.height * width * CHANNELS);
  for (let y = 0; y < image.height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      for (let c = 0; c < CHANNELS; c += 1) {
        let sum = 0;
        for (let k = 4 * x; k < 4 * x + 4; k += 1) {
          sum += across.weights[k] * image.data[(y * image.width + across.from[k]) * CHANNELS + c];
        }
        line[(y * width + x) * CHANNELS + c] = sum;
      }
    }
  }
  const row = width * CHANNELS;
  for (let y = 0; y < height; y += 1) {
    for (let i = 0; i < row; i += 1) {
      let sum = 0;
      for (let k = 4 * y; k < 4 * y + 4; k += 1) sum += down.weights[k] * line[down.from[k] * row + i];
      out.data[y * row + i] = to8Bits(sum / (WEIGHT * WEIGHT));
    }
  }
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

/** Half the sides (rounded), each pixel the mean of two by two, or of those that the border leaves of them. */
function halved({ data, width, height }) {
  const out = blank(roundEven(width / 2), roundEven(height / 2));
  const row = width * CHANNELS;
  let to = 0;
  for (let y = 0; y < out.height; y += 1) {
    const below = 2 * y + 1 < height;
    for (let x = 0; x < out.width; x += 1) {
      const beside = 2 * x + 1 < width;
      const at = 2 * y * row + 2 * x * CHANNELS;
      for (let i = at; i < at + CHANNELS; i += 1, to += 1) {
        if (below && beside) {
          out.data[to] = (data[i] + data[i + CHANNELS] + data[i + row] + data[i + row + CHANNELS] + 2) >> 2;
        } else if (below || beside) {
          out.data[to] = roundEven((data[i] + data[i + (beside ? CHANNELS : row)]) / 2);
        } else {
          out.data[to] = data[i];
        }
      }
    }
  }
  return out;
}

/** Which old pixels a new one covers, and how much of it each fills; those of pixel i stand at starts[i] and after. */
function areaTable(length, wanted) {
  const scale = length / wanted;
  const [starts, from, weights] = [[], [], []];
  const add = (index, weight) => {
    from.push(index);
    weights.push(Math.fround(weight));
  };
  for (let i = 0; i < wanted; i += 1) {
    starts.push(from.length);
    const [begin, end] = [i * scale, (i + 1) * scale];
    const covered = Math.min(scale, length - begin);
    const last = Math.min(Math.floor(end), length - 1);
    const first = Math.min(Math.ceil(begin), last);
    if (first - begin > 1e-3) add(first - 1, (first - begin) / covered);
    for (let k = first; k < last; k += 1) add(k, 1 / covered);
    if (end - last > 1e-3) add(last, Math.min(end - last, 1, covered) / covered);
  }
  starts.push(from.length);
  return { starts: Int32Array.from(starts), from: Int32Array.from(from), weights: Float32Array.from(weights) };
}

function shrinkLine(data, start, { starts, from, weights }, line) {
  for (let x = 0, to = 0; x + 1 < starts.length; x += 1, to += CHANNELS) {
    let [red, green, blue] = [0, 0, 0];
    for (let k = starts[x]; k < starts[x + 1]; k += 1) {
      const at = start + from[k] * CHANNELS;
      const weight = weights[k];
      red += weight * data[at];
      green += weight * data[at + 1];
      blue += weight * data[at + 2];
    }
    line[to] = red;
    line[to + 1] = green;
    line[to + 2] = blue;
  }
}

function cubicTable(length, wanted) {
  const [from, weights] = [new Int32Array(4 * wanted), new Int32Array(4 * wanted)];
  for (let i = 0; i < wanted; i += 1) {
    const place = Math.fround((i + 0.5) * (length / wanted) - 0.5);
    const low = Math.floor(place);
    cubicWeights(place - low).forEach((weight, k) => {
      from[4 * i + k] = clamp(low - 1 + k, length);
      weights[4 * i + k] = roundEven(weight * WEIGHT);
    });
  }
  return { from, weights };
}

function clamp(index, length) {
  return index < 0 ? 0 : index >= length ? length - 1 : index;
}

function to8Bits(value) {
  return value <= 0 ? 0 : value >= 255 ? 255 : roundEven(value);
}

function copyPixel(source, at, target, to) {
  for (let c = 0; c < CHANNELS; c += 1) target[to + c] = source[at + c];
}
