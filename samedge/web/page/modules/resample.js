// Pillow's bilinear resize, to the bit: two passes with coefficients in fixed point, in the order of
// Pillow 13 (Resample.c: precompute_coeffs, normalize_coeffs_8bpc, ImagingResampleInner), so that the
// page feeds the encoder what samedge feeds it in Python. By the rule `fast` it works on the means of
// four pixels of each block; the counterpart of samedge/pixels/resizing.py.

const PRECISION_BITS = 22;
const HALF = 1 << (PRECISION_BITS - 1);
const GAP = 1.25; // blocks to a pixel of the target, at least
const HALVES = 0x7f7f7f7f; // of four bytes, without what was shifted in from the next
const QUEENS = [[-3, -1], [-1, 3], [1, -3], [3, 1]]; // where a block is looked at, in eighths

/**
 * Weights of one axis.
 *
 * @param {number} from - length in.
 * @param {number} to - length out.
 * @param {number} extent - of the length in, what becomes the length out.
 * @returns {{first: Int32Array, count: Int32Array, weights: Int32Array, stride: number}}
 */
export function axisWeights(from, to, extent = from) {
  const scale = extent / to;
  const spread = Math.max(scale, 1);
  const stride = Math.ceil(spread) * 2 + 1;
  const first = new Int32Array(to);
  const count = new Int32Array(to);
  const weights = new Int32Array(to * stride);
  const raw = new Float64Array(stride);
  for (let out = 0; out < to; out++) {
    const centre = (out + 0.5) * scale;
    const low = Math.max(Math.trunc(centre - spread + 0.5), 0);
    const high = Math.min(Math.trunc(centre + spread + 0.5), from);
    let sum = 0;
    for (let i = 0; i < high - low; i++) {
      raw[i] = Math.max(0, 1 - Math.abs((i + low - centre + 0.5) / spread));
      sum += raw[i];
    }
    for (let i = 0; i < high - low; i++) {
      weights[out * stride + i] = Math.trunc(0.5 + (raw[i] / sum) * (1 << PRECISION_BITS));
    }
    first[out] = low;
    count[out] = high - low;
  }
  return { first, count, weights, stride };
}

/**
 * Resize a picture that comes strip by strip, as a frame's `preprocess` says.
 *
 * @param {string|undefined} rule - `fast`; anything else is exact.
 * @param {number[]} size - [height, width] in.
 * @param {number[]} target - [height, width] out.
 * @param {(top: number, rows: number) => Uint8ClampedArray} strip - RGBA of some rows.
 * @returns {Uint8Array} (height, width, 3) RGB.
 */
export function resizeBy(rule, size, target, strip) {
  const side = size.map((length, axis) => Math.max(Math.trunc(length / (GAP * target[axis])), 1));
  if (rule !== "fast" || (side[0] === 1 && side[1] === 1)) return resizeStrips(size, target, strip);
  const blocks = size.map((length, axis) => Math.ceil(length / side[axis]));
  const means = blockMeans(size, side, blocks, strip);
  const row = blocks[1] * 4;
  return resizeStrips(blocks, target, (top, rows) => means.subarray(top * row, (top + rows) * row), {
    extent: size.map((length, axis) => Math.fround(length / side[axis])),
  });
}

/** RGBA of one pixel a block: the mean of four, rounded up, then down. */
function blockMeans([height, width], [down, along], [high, wide], strip) {
  const columns = QUEENS.map(([, x]) => Int32Array.from({ length: wide }, (_, block) => (
    Math.min(block * along + place(x, along), width - 1))));
  const means = new Uint32Array(high * wide);
  const blocksAtATime = Math.max(Math.trunc(256 / down), 1);
  for (let top = 0; top < high; top += blocksAtATime) {
    const rows = Math.min(blocksAtATime * down, height - top * down);
    const bytes = strip(top * down, rows);
    const pixels = new Uint32Array(bytes.buffer, bytes.byteOffset, rows * width);
    for (let y = top; y < Math.min(top + blocksAtATime, high); y++) {
      const lines = QUEENS.map(([line]) => width * Math.min((y - top) * down + place(line, down), rows - 1));
      meanRow(pixels, lines, columns, means.subarray(y * wide, (y + 1) * wide));
    }
  }
  return new Uint8Array(means.buffer);
}

/** Four bytes at a time: a + b is twice what they share, and what only one of them has. */
function meanRow(pixels, [lineA, lineB, lineC, lineD], [columnA, columnB, columnC, columnD], out) {
  for (let x = 0; x < out.length; x++) {
    const a = pixels[lineA + columnA[x]];
    const b = pixels[lineB + columnB[x]];
    const c = pixels[lineC + columnC[x]];
    const d = pixels[lineD + columnD[x]];
    const ab = (a | b) - (((a ^ b) >>> 1) & HALVES);
    const cd = (c | d) - (((c ^ d) >>> 1) & HALVES);
    out[x] = (ab & cd) + (((ab ^ cd) >>> 1) & HALVES);
  }
}

/** Where a side of a block is looked at, given in eighths of it from its middle. */
function place(eighths, side) {
  if (eighths > 0) return side - 1 - place(-eighths, side);
  return Math.max(Math.trunc((side - 1) / 2 + (side * eighths) / 8 + 0.5), 0);
}

/**
 * Resize a picture that comes strip by strip, every pixel counted.
 *
 * @param {number[]} size - [height, width] in.
 * @param {number[]} target - [height, width] out.
 * @param {(top: number, rows: number) => Uint8ClampedArray} strip - RGBA of some rows.
 * @param {{extent?: number[], rowsAtATime?: number}} more - of the size, what becomes the target.
 * @returns {Uint8Array} (height, width, 3) RGB.
 */
export function resizeStrips(size, target, strip, { extent = size, rowsAtATime = 256 } = {}) {
  const [height, width] = size;
  const [high, wide] = target;
  const isVerticalFirst = height > high && height - high > (width - wide) * 2;
  const resize = isVerticalFirst ? resizeDownFirst : resizeAcrossFirst;
  const rows = function* () {
    for (let top = 0; top < height; top += rowsAtATime) {
      const count = Math.min(rowsAtATime, height - top);
      const pixels = strip(top, count);
      for (let row = 0; row < count; row++) yield [top + row, pixels, row * width * 4];
    }
  };
  return resize(rows(), size, target, extent);
}

function resizeAcrossFirst(rows, [height, width], [high, wide], extent) {
  const narrowed = new Uint8Array(height * wide * 3);
  const columns = wide === width ? null : axisWeights(width, wide, extent[1]);
  for (const [y, pixels, from] of rows) {
    if (columns) narrowRow(pixels, from, 4, columns, narrowed, y * wide * 3);
    else copyRow(pixels, from, narrowed, y * wide * 3, wide);
  }
  return high === height ? narrowed : shortened(narrowed, axisWeights(height, high, extent[0]), high, wide);
}

/** Tall photos: every row is added to the rows that it counts in. */
function resizeDownFirst(rows, [height, width], [high, wide], extent) {
  const { first, count, weights, stride } = axisWeights(height, high, extent[0]);
  const length = width * 3;
  const sums = new Int32Array(high * length).fill(HALF);
  let low = 0;
  for (const [y, pixels, from] of rows) {
    while (first[low] + count[low] <= y) low++;
    for (let out = low; out < high && first[out] <= y; out++) {
      const weight = weights[out * stride + y - first[out]];
      for (let x = 0, at = from, to = out * length; x < width; x++, at += 4, to += 3) {
        sums[to] += pixels[at] * weight;
        sums[to + 1] += pixels[at + 1] * weight;
        sums[to + 2] += pixels[at + 2] * weight;
      }
    }
  }
  const shortenedRows = Uint8Array.from(sums, clipped);
  if (wide === width) return shortenedRows;
  const columns = axisWeights(width, wide, extent[1]);
  const out = new Uint8Array(high * wide * 3);
  for (let y = 0; y < high; y++) narrowRow(shortenedRows, y * length, 3, columns, out, y * wide * 3);
  return out;
}

function copyRow(pixels, from, out, to, width) {
  for (let x = 0; x < width; x++, from += 4, to += 3) {
    out[to] = pixels[from];
    out[to + 1] = pixels[from + 1];
    out[to + 2] = pixels[from + 2];
  }
}

function narrowRow(pixels, from, channels, { first, count, weights, stride }, out, to) {
  for (let x = 0; x < first.length; x++, to += 3) {
    let red = HALF;
    let green = HALF;
    let blue = HALF;
    let at = from + first[x] * channels;
    let w = x * stride;
    for (let i = count[x]; i > 0; i--, at += channels, w++) {
      const weight = weights[w];
      red = (red + Math.imul(pixels[at], weight)) | 0;
      green = (green + Math.imul(pixels[at + 1], weight)) | 0;
      blue = (blue + Math.imul(pixels[at + 2], weight)) | 0;
    }
    out[to] = clipped(red);
    out[to + 1] = clipped(green);
    out[to + 2] = clipped(blue);
  }
}

function shortened(pixels, { first, count, weights, stride }, high, wide) {
  const length = wide * 3;
  const out = new Uint8Array(high * length);
  const sums = new Int32Array(length);
  for (let y = 0; y < high; y++) {
    sums.fill(HALF);
    for (let i = 0; i < count[y]; i++) {
      const weight = weights[y * stride + i];
      const from = (first[y] + i) * length;
      for (let x = 0; x < length; x++) sums[x] += Math.imul(pixels[from + x], weight);
    }
    const to = y * length;
    for (let x = 0; x < length; x++) out[to + x] = clipped(sums[x]);
  }
  return out;
}

function clipped(sum) {
  const value = sum >> PRECISION_BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}
