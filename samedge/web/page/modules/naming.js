// Words to regions: everything mode proposes, the region encoder names, the better of two stays; the
// counterpart of samedge/predict/words/finding.py on what this page's everything mode finds.

import { boxIou } from "./everything.js";
import { maskFromLogits } from "./masks.js";
import { CropSource } from "./regions.js";

const BATCH = 16; // regions in one call of an encoder that takes any number
const NEAR = 1.5; // log-odds below the best region of a word from which on others are not meant, as in Python
const PART = 0.9; // share of a region in another from which on it is a part of that
const FILLED = 0.7; // share of a region that its parts cover where it is a group of them

/**
 * Embeddings of the regions of a photo.
 *
 * @param {object[]} proposals - as everything gives them.
 * @param {{picture: ImageBitmap, view: View, threshold: number, rules: object}} about - the photo,
 *   which is closed here, and the manifest's words.
 * @param {RegionEncoder} encoder - {side, batch, embed(data, count)}.
 * @returns {Promise<{embedding: Float32Array, box: number[], proposal: object}[]>} without those that
 *   have no pixel.
 */
export async function embedded(proposals, { picture, view, threshold, rules }, encoder) {
  const source = new CropSource(picture);
  const axes = view.axes(source.size);
  const batch = encoder.batch ?? BATCH;
  const length = encoder.side ** 2 * 3;
  const found = [];
  let waiting = [];
  const flush = async () => {
    if (!waiting.length) return;
    const data = new Uint8Array((encoder.batch ?? waiting.length) * length);
    waiting.forEach(({ crop }, index) => data.set(crop, index * length));
    const rows = await encoder.embed(data, waiting.length);
    waiting.forEach(({ proposal, box }, index) => found.push({ embedding: rows[index], box, proposal }));
    waiting = [];
  };
  for (const proposal of proposals) {
    const region = maskFromLogits(proposal.logits, axes, threshold);
    if (!region.box) continue;
    waiting.push({ proposal, box: region.box, crop: source.crop(region, rules, encoder.side) });
    if (waiting.length === batch) await flush();
  }
  await flush();
  return found;
}

/**
 * The regions that words name, by falling score, and what became of each word.
 *
 * @param {object[]} regions - as embedded gives them.
 * @param {object[]} asked - as WordTable.asked gives them.
 * @param {{table: WordTable, rules: object, mask: number}} about - rules are the manifest's; mask is
 *   the logit above which a pixel is in a mask.
 */
export function named(regions, asked, { table, rules, mask }) {
  const found = [];
  const words = asked.map(({ asked: text, word, row }) => {
    const margins = table.margins(regions.map(({ embedding }) => embedding), row);
    const kept = withoutParts(keptRows(margins, regions, rules), regions, mask);
    for (const index of kept) found.push({ ...regions[index].proposal, word, margin: margins[index], score: score(margins[index]) });
    const best = margins.length ? score(Math.max(...margins)) : null;
    return { asked: text, word, found: kept.length, best_score: best };
  });
  found.sort((a, b) => b.margin - a.margin);
  return { found, words };
}

/** Rows of the regions that one word names, the best first; of two boxes that overlap the better. */
function keptRows(margins, regions, { threshold, suppression }) {
  const near = margins.reduce((best, margin) => Math.max(best, margin), -Infinity) - NEAR;
  const over = margins.flatMap((margin, index) => (margin > threshold && margin >= near ? [index] : []));
  over.sort((a, b) => margins[b] - margins[a] || a - b);
  const kept = [];
  for (const index of over) {
    if (kept.every((better) => boxIou(regions[better].box, regions[index].box) <= suppression)) kept.push(index);
  }
  return kept;
}

/** The rows without parts of others; of a group that its parts fill the parts. */
function withoutParts(rows, regions, threshold) {
  const drawn = new Map(rows.map((row) => [row, regions[row].proposal.logits.map((logit) => (logit > threshold ? 1 : 0))]));
  const parts = new Map();
  for (const row of rows) {
    const whole = [...parts.keys()].find((one) => isPart(drawn.get(row), drawn.get(one)));
    if (whole === undefined) parts.set(row, []);
    else parts.get(whole).push(row);
  }
  const kept = new Set();
  for (const [whole, own] of parts) {
    const isGroup = fills(own.map((row) => drawn.get(row)), drawn.get(whole));
    (isGroup ? own : [whole]).forEach((row) => kept.add(row));
  }
  return rows.filter((row) => kept.has(row));
}

const areaOf = (mask) => mask.reduce((sum, value) => sum + value, 0);
const common = (first, second) => first.reduce((sum, value, index) => sum + value * second[index], 0);

function isPart(region, whole) {
  const inside = common(region, whole);
  return inside >= PART * areaOf(region) && inside < PART * areaOf(whole);
}

function fills(parts, whole) {
  if (parts.length < 2) return false;
  const filled = whole.reduce((sum, value, index) => sum + (value && parts.some((part) => part[index]) ? 1 : 0), 0);
  return filled >= FILLED * areaOf(whole);
}

function score(margin) {
  return 1 / (1 + Math.exp(-margin));
}
