// Low-res logits of one view of a photo on the grid of another view of it; the counterpart of
// samedge/pixels/regridding.py.

import { LOW_RES_STRIDE } from "./frame.js";

export const CERTAIN = 10; // the logit of a pixel certainly in a mask; its negative: certainly not
const SAMPLES = 4; // places along each axis of a cell; it gets their mean

/**
 * Move logits from what one view shows to what another shows.
 *
 * @param {Float32Array} logits - (m, m) of `source`, or several of them, one after the other.
 * @param {View} source
 * @param {View} target - of the same frame.
 * @param {{isMirrored?: boolean}} more - `source` is of the photo with its left and right exchanged.
 * @returns {Float32Array} as many; where `source` shows nothing, and in the padding, not in the mask.
 */
export function regridded(logits, source, target, { isMirrored = false } = {}) {
  const side = target.lowResSide;
  const rows = axisOf(source, target, 0, false);
  const columns = axisOf(source, target, 1, isMirrored);
  const moved = new Float32Array(logits.length);
  for (let from = 0; from < logits.length; from += side * side) {
    moveOne(logits.subarray(from, from + side * side), moved.subarray(from, from + side * side), { rows, columns, side });
  }
  return moved;
}

function moveOne(logits, moved, { rows, columns, side }) {
  const wide = new Float32Array(side * side);
  for (let y = 0, to = 0; y < side; y++) {
    for (let x = 0; x < side; x++, to++) {
      let sum = 0;
      for (const [at, weight] of columns[x] ?? []) sum += logits[y * side + at] * weight;
      wide[to] = sum;
    }
  }
  for (let y = 0, to = 0; y < side; y++) {
    for (let x = 0; x < side; x++, to++) {
      let sum = rows[y] && columns[x] ? 0 : -CERTAIN;
      if (columns[x]) for (const [at, weight] of rows[y] ?? []) sum += wide[at * side + x] * weight;
      moved[to] = sum;
    }
  }
}

/** For every cell of `target` along an axis the cells of `source` with their weights; null: not seen. */
function axisOf(source, target, axis, isMirrored) {
  const [low, high] = [source.bounds[1 - axis], source.bounds[3 - axis]];
  const scale = [source, target].map((view) => (LOW_RES_STRIDE * view.viewedSize[axis]) / view.inputSize[axis]);
  const placed = (cell) => target.bounds[1 - axis] + cell * scale[1];
  const there = (pixel) => (isMirrored ? source.size[axis] - pixel : pixel);
  return Array.from({ length: target.lowResSide }, (_, cell) => {
    const middle = placed(cell + 0.5);
    if (there(middle) < low || there(middle) > high || middle > target.bounds[3 - axis]) return null;
    const weights = new Map();
    for (let sample = 0; sample < SAMPLES; sample++) {
      const pixel = there(placed(cell + (sample + 0.5) / SAMPLES));
      addLinear(weights, (pixel - low) / scale[0] - 0.5, source.lowResSize[axis]);
    }
    return [...weights];
  });
}

/** Linear interpolation at a place among `length` cells, as one of several samples. */
function addLinear(weights, place, length) {
  const inside = Math.min(Math.max(place, 0), length - 1);
  const low = Math.min(Math.floor(inside), Math.max(length - 2, 0));
  const share = inside - low;
  for (const [at, weight] of [[low, 1 - share], [Math.min(low + 1, length - 1), share]]) {
    if (weight) weights.set(at, (weights.get(at) ?? 0) + weight / SAMPLES);
  }
}
