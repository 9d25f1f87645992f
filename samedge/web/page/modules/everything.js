// Automatic masks: a grid of clicks, filtered by quality and stability, duplicates suppressed; the
// counterpart of samedge/predict/everything.py, with the thresholds of the manifest.

import { maskFromLogits } from "./masks.js";

const MOST_MASK_SIDE = 1024; // px; boxes of finished masks are measured at this size or the photo's
const LOW_RES_STRIDE = 4;
const BOX_NMS = 0.7;
const CANDIDATES = [1, 2, 3];

/**
 * Find the masks of a photo.
 *
 * @param {(prompt: object) => Promise<{logits: Float32Array, iou: Float32Array}>} decode - all four
 *   tokens of one prompt.
 * @param {View} view - of the photo.
 * @param {object} thresholds - of the manifest.
 * @param {{pointsPerSide: number, progress: (done: number, total: number) => void,
 *   isStopped: () => boolean}} settings
 * @returns {Promise<object[]>} {logits, iou, stability, point} of distinct things, the best first;
 *   what was found so far where it was stopped.
 */
export async function everything(decode, view, thresholds, { pointsPerSide = 32, progress, isStopped }) {
  const points = grid(pointsPerSide, view.size);
  const found = [];
  for (let done = 0; done < points.length && !isStopped(); done++) {
    const point = points[done];
    const result = await decode({ points: [point], labels: [1], box: null, mask: null });
    found.push(...candidates(result, point, view, thresholds));
    progress(done + 1, points.length);
  }
  const kept = suppressed(found, (one) => one.box, BOX_NMS);
  return finished(kept, view, thresholds);
}

function grid(side, [height, width]) {
  const middles = Array.from({ length: side }, (_, i) => (i + 0.5) / side);
  return middles.flatMap((y) => middles.map((x) => [x * width, y * height]));
}

function candidates({ logits, iou }, point, view, thresholds) {
  const area = view.lowResSide ** 2;
  const found = [];
  for (const token of CANDIDATES) {
    if (!(iou[token] > thresholds.predicted_iou)) continue;
    const own = logits.subarray(token * area, (token + 1) * area);
    const stability = stabilityOf(own, view, thresholds.stability_offset);
    const box = lowResBox(own, view, thresholds.mask);
    if (stability >= thresholds.stability && box) {
      found.push({ logits: own.slice(), iou: iou[token], stability, box, point });
    }
  }
  return found;
}

/** IoU of a mask cut high with itself cut low, over the logits of the photo. */
export function stabilityOf(logits, view, offset) {
  const [high, wide] = view.lowResSize;
  let [inner, outer] = [0, 0];
  for (let y = 0; y < high; y++) {
    for (let x = 0, i = y * view.lowResSide; x < wide; x++, i++) {
      if (logits[i] > offset) inner++;
      if (logits[i] > -offset) outer++;
    }
  }
  return inner / Math.max(outer, 1);
}

function lowResBox(logits, view, threshold) {
  const [high, wide] = view.lowResSize;
  let [x0, y0, x1, y1] = [wide, high, 0, 0];
  for (let y = 0; y < high; y++) {
    for (let x = 0, i = y * view.lowResSide; x < wide; x++, i++) {
      if (logits[i] <= threshold) continue;
      x0 = Math.min(x0, x);
      x1 = Math.max(x1, x + 1);
      y0 = Math.min(y0, y);
      y1 = y + 1;
    }
  }
  if (x1 <= x0) return null;
  const [down, across] = view.size.map((length, axis) => (LOW_RES_STRIDE * length) / view.inputSize[axis]);
  return [x0 * across, y0 * down, x1 * across, y1 * down];
}

function finished(kept, view, thresholds) {
  const shrink = Math.min(1, MOST_MASK_SIDE / Math.max(...view.size));
  const axes = view.axes(view.size.map((length) => Math.max(1, Math.round(length * shrink))));
  const boxed = kept
    .map((one) => ({ ...one, box: maskFromLogits(one.logits, axes, thresholds.mask).box }))
    .filter((one) => one.box);
  return suppressed(boxed, (one) => one.box, BOX_NMS);
}

/** Greedy non-maximum suppression: the best by predicted IoU first. */
export function suppressed(found, boxOf, threshold) {
  const order = found.map((one, index) => ({ one, index })).sort(
    (a, b) => b.one.iou - a.one.iou || a.index - b.index);
  const kept = [];
  for (const { one } of order) {
    if (kept.every((better) => boxIou(boxOf(better), boxOf(one)) <= threshold)) kept.push(one);
  }
  return kept;
}

function boxIou(a, b) {
  const wide = Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0);
  const high = Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
  const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
  return (wide * high) / Math.max(area(a) + area(b) - wide * high, 1e-12);
}
