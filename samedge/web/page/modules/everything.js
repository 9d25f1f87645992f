// Automatic masks: a grid of clicks, filtered by quality and stability, duplicates suppressed; the
// counterpart of samedge/predict/everything.py on the whole photo, without its crops.

import { everythingRules } from "./manifest.js";
import { maskFromLogits } from "./masks.js";

const MOST_MASK_SIDE = 1024; // px; boxes of finished masks are measured at this size or the photo's
const LOW_RES_STRIDE = 4;
const CANDIDATES = [1, 2, 3];
const BATCH = 16; // clicks after which is looked what is settled, as in Python
const COARSEST_SIDE = 8;
const GOOD_IOU = 0.6;
const GOOD_STABILITY = 0.6;
const FIRMER = 2; // what logits are multiplied by where they are asked about again, as in Python
const SAME = 0.3; // IoU from which on a second drawing is of the same thing

/**
 * Find the masks of a photo.
 *
 * @param {(prompt: object) => Promise<{logits: Float32Array, iou: Float32Array}>} decode - all four
 *   tokens of one prompt.
 * @param {View} view - of the photo.
 * @param {object} manifest - checked.
 * @param {{pointsPerSide: number, progress: (done: number, total: number) => void,
 *   isStopped: () => boolean}} settings
 * @returns {Promise<object[]>} {logits, iou, stability, point} of distinct things, the best first;
 *   what was found so far where it was stopped.
 */
export async function everything(decode, view, manifest, { pointsPerSide, progress, isStopped }) {
  const { thresholds } = manifest;
  const rules = everythingRules(manifest);
  const clicks = new ClickGrid(pointsPerSide ?? rules.pointsPerSide, view, rules.coarseToFine);
  const found = [];
  for (const batch of clicks.batches()) {
    const kept = [];
    for (const point of batch) {
      if (isStopped()) break;
      const result = await decode({ points: [point], labels: [1], box: null, mask: null });
      kept.push(...candidates(result, point, view, thresholds));
    }
    if (isStopped()) break;
    found.push(...kept);
    clicks.settle(kept.filter((one) => one.iou > GOOD_IOU && one.stability > GOOD_STABILITY), thresholds.mask);
    progress(clicks.done, clicks.total);
  }
  const ranked = (masks) => masks.map((one) => ({ ...one, rank: one.iou * one.stability ** rules.stabilityWeight }));
  const kept = suppressed(ranked(found), rules.suppression);
  const drawn = rules.redrawn ? ranked(await redrawn(decode, kept, view, thresholds, isStopped)) : kept;
  return softlyOrdered(finished(drawn, view, thresholds, rules.suppression), rules.softNmsSigma);
}

/**
 * Masks asked for again with their own boxes and logits, without those that come back as another thing;
 * where it was stopped, the rest as it is.
 */
async function redrawn(decode, masks, view, thresholds, isStopped) {
  const [height, width] = view.size;
  const most = [width, height, width, height];
  const found = [];
  for (const [index, one] of masks.entries()) {
    if (isStopped()) return [...found, ...masks.slice(index)];
    const box = one.box.map((edge, side) => Math.min(Math.max(edge, 0), most[side]));
    const mask = one.logits.map((value) => FIRMER * value);
    const { logits, iou } = await decode({ points: [], labels: [], box, mask });
    const own = logits.slice(0, view.lowResSide ** 2);
    const again = lowResBox(own, view, thresholds.mask);
    if (!again || logitsIou(own, one.logits, thresholds.mask) < SAME) continue;
    const stability = stabilityOf(own, view, thresholds.stability_offset);
    found.push({ ...one, logits: own, iou: (one.iou + iou[0]) / 2, stability, box: again });
  }
  return found;
}

/** IoU of two masks given by their logits. */
function logitsIou(first, second, threshold) {
  let [common, union] = [0, 0];
  for (let i = 0; i < first.length; i++) {
    const [a, b] = [first[i] > threshold, second[i] > threshold];
    common += a && b;
    union += a || b;
  }
  return common / Math.max(union, 1);
}

/** The clicks of a grid in their order: coarse first, without those that a good mask covers. */
export class ClickGrid {
  constructor(side, view, coarseToFine) {
    const [height, width] = view.size;
    const middles = Array.from({ length: side }, (_, i) => (i + 0.5) / side);
    this.points = middles.flatMap((y) => middles.map((x) => [x * width, y * height]));
    this.total = this.points.length;
    this.done = 0;
    this.view = view;
    this.skips = coarseToFine;
    this.rounds = coarseToFine ? rounds(side) : [this.points.map((_, index) => index)];
    this.isSettled = new Uint8Array(this.total);
  }

  /** The next clicks, a few at a time. */
  * batches() {
    for (const round of this.rounds) {
      let waiting = round;
      while (waiting.length) {
        const left = waiting.filter((index) => !this.isSettled[index]);
        this.done += waiting.length - left.length + Math.min(left.length, BATCH);
        if (left.length) yield left.slice(0, BATCH).map((index) => this.points[index]);
        waiting = left.slice(BATCH);
      }
    }
  }

  /** Take note of good masks. */
  settle(masks, threshold) {
    if (!this.skips) return;
    const [high, wide] = this.view.lowResSize;
    const inside = (value, most) => Math.min(Math.max(Math.trunc(value / LOW_RES_STRIDE), 0), most - 1);
    this.points.forEach((point, index) => {
      const [x, y] = this.view.inputPoint(point);
      const at = inside(y, high) * this.view.lowResSide + inside(x, wide);
      if (masks.some(({ logits }) => logits[at] > threshold)) this.isSettled[index] = 1;
    });
  }
}

function rounds(side) {
  const seen = new Set();
  const found = [];
  let stride = 1;
  while (Math.floor(side / (2 * stride)) >= COARSEST_SIDE) stride *= 2;
  for (; stride >= 1; stride = Math.floor(stride / 2)) {
    const middle = Math.floor(stride / 2);
    const now = [];
    for (let row = middle; row < side; row += stride) {
      for (let column = middle; column < side; column += stride) {
        const index = row * side + column;
        if (!seen.has(index)) now.push(index);
      }
    }
    now.forEach((index) => seen.add(index));
    found.push(now);
  }
  return found;
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

function finished(kept, view, thresholds, suppression) {
  const shrink = Math.min(1, MOST_MASK_SIDE / Math.max(...view.size));
  const axes = view.axes(view.size.map((length) => Math.max(1, Math.round(length * shrink))));
  const boxed = kept
    .map((one) => ({ ...one, box: maskFromLogits(one.logits, axes, thresholds.mask).box }))
    .filter((one) => one.box);
  return suppressed(boxed, suppression);
}

/** Greedy non-maximum suppression: the best ranked first. */
function suppressed(found, threshold) {
  const order = found.map((one, index) => ({ one, index })).sort(
    (a, b) => b.one.rank - a.one.rank || a.index - b.index);
  const kept = [];
  for (const { one } of order) {
    if (kept.every((better) => boxIou(better.box, one.box) <= threshold)) kept.push(one);
  }
  return kept;
}

/** Masks in the order of Soft-NMS (Bodla et al., 2017): each lowered by its overlap with those before it. */
export function softlyOrdered(found, sigma) {
  if (!sigma) return found;
  const left = found.map((one) => ({ one, rank: one.rank }));
  const order = [];
  while (left.length) {
    const best = left.reduce((first, next, index) => (next.rank > left[first].rank ? index : first), 0);
    const [{ one }] = left.splice(best, 1);
    order.push(one);
    for (const other of left) other.rank *= Math.exp(-(boxIou(one.box, other.one.box) ** 2) / sigma);
  }
  return order;
}

export function boxIou(a, b) {
  const wide = Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0);
  const high = Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
  const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
  return (wide * high) / Math.max(area(a) + area(b) - wide * high, 1e-12);
}
