// Geometry between a photo, the encoder's square input and the low-res logits, as the manifest's
// frame says; the counterpart of samedge/pixels/frames.py.

import { resizeBy } from "./resample.js";

export const LOW_RES_STRIDE = 4;
const SQUARE = "square_bilinear";

/**
 * A frame and one photo, or a rectangle of one. Sizes are [height, width]; coordinates xy pixels of
 * the whole photo, whether a rectangle of it is viewed or not.
 */
export class View {
  #axes = new Map(); // by size
  #parts = new Map(); // by region

  constructor(frame, size, region = null) {
    this.frame = frame;
    this.size = size;
    this.bounds = region ?? [0, 0, size[1], size[0]];
    this.viewedSize = [this.bounds[3] - this.bounds[1], this.bounds[2] - this.bounds[0]];
    this.side = frame.target_length;
    this.lowResSide = this.side / LOW_RES_STRIDE;
    this.inputSize = inputSize(frame, this.viewedSize);
    this.lowResSize = this.inputSize.map((length) => Math.ceil(length / LOW_RES_STRIDE));
  }

  /** The view of a rectangle of the same photo, x0, y0, x1, y1; null is all of it. */
  part(region) {
    const key = String(region ?? this.#whole);
    if (key === String(this.bounds)) return this;
    if (!this.#parts.has(key)) this.#parts.set(key, new View(this.frame, this.size, region ?? this.#whole));
    return this.#parts.get(key);
  }

  get #whole() {
    return [0, 0, this.size[1], this.size[0]];
  }

  /**
   * The encoder's input, (S, S, 3).
   *
   * @param {(top: number, rows: number) => Uint8ClampedArray} strip - RGBA rows of what is viewed.
   */
  encoderInput(strip) {
    const [high, wide] = this.inputSize;
    const resized = resizeBy(this.frame.preprocess, this.viewedSize, this.inputSize, strip);
    const square = filled(this.side * this.side, this.frame.pad_value);
    if (wide === this.side) {
      square.set(resized);
      return square;
    }
    for (let y = 0; y < high; y++) {
      square.set(resized.subarray(y * wide * 3, (y + 1) * wide * 3), y * this.side * 3);
    }
    return square;
  }

  /** A point of the photo in the input. */
  inputPoint([x, y]) {
    const [left, top] = this.bounds;
    const [height, width] = this.viewedSize;
    const [high, wide] = this.inputSize;
    return [(x - left) * (wide / width), (y - top) * (high / height)];
  }

  /** Interpolation from the logits to a picture of what is viewed: `{rows, columns}`. */
  axes([height, width] = this.viewedSize) {
    const key = `${height}x${width}`;
    if (!this.#axes.has(key)) this.#axes.set(key, this.#axesOf(height, width));
    return this.#axes.get(key);
  }

  #axesOf(height, width) {
    const [high, wide] = this.inputSize;
    const axis = (length, inner) => (this.frame.resize === SQUARE
      ? sparse(bilinear(this.lowResSide, length))
      : paddedAxis(this.lowResSide, length, this.side, inner));
    return { rows: axis(height, high), columns: axis(width, wide) };
  }
}

/** So many times three values; doubling what is there is far faster than setting each. */
function filled(count, values) {
  const out = new Uint8Array(count * 3);
  out.set(values);
  for (let length = 3; length < out.length; length *= 2) out.copyWithin(length, 0, length);
  return out;
}

function inputSize(frame, [height, width]) {
  const side = frame.target_length;
  if (frame.resize === SQUARE) return [side, side];
  const scale = side / Math.max(height, width);
  return [height, width].map((length) => Math.max(Math.floor(length * scale + 0.5), 1));
}

/** SAM's upscaling along one axis: to S, without the padding, to the length that is asked for. */
function paddedAxis(side, length, full, inner) {
  const first = bilinear(side, full);
  const second = bilinear(inner, length);
  return sparse(second.map(([low, high, weight]) => {
    const found = new Map();
    for (const [at, share] of [[low, 1 - weight], [high, weight]]) {
      const [a, b, inside] = first[at];
      found.set(a, (found.get(a) ?? 0) + share * (1 - inside));
      found.set(b, (found.get(b) ?? 0) + share * inside);
    }
    return found;
  }));
}

/** `[low, high, weight of high]` for every position, by torch's rule for align_corners=False. */
function bilinear(from, to) {
  return Array.from({ length: to }, (_, position) => {
    const source = Math.max((position + 0.5) * (from / to) - 0.5, 0);
    const low = Math.min(Math.floor(source), from - 1);
    return [low, Math.min(low + 1, from - 1), source - low];
  });
}

/** Rows of few weights as arrays: where they start, and `taps` weights each. */
function sparse(rows) {
  const maps = rows.map((row) => (row instanceof Map ? row : new Map(
    row[0] === row[1] ? [[row[0], 1]] : [[row[0], 1 - row[2]], [row[1], row[2]]])));
  const spans = maps.map((map) => {
    const filled = [...map].filter(([, weight]) => weight !== 0).map(([at]) => at);
    return [Math.min(...filled), Math.max(...filled)];
  });
  const taps = Math.max(...spans.map(([low, high]) => high - low + 1));
  const first = Int32Array.from(spans, ([low]) => low);
  const weights = new Float32Array(rows.length * taps);
  maps.forEach((map, row) => {
    for (const [at, weight] of map) if (weight) weights[row * taps + at - first[row]] = weight;
  });
  return { length: rows.length, taps, first, weights };
}
