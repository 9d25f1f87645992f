// The two pictures with known answers that every bundle carries: run where the page computes, they
// tell whether its arithmetic can be trusted. The counterpart of samedge/bundle/canary.py.

import { View } from "./frame.js";
import { readNpz } from "./npz.js";
import { decoderFeeds } from "./prompts.js";

const MOST_SIDE = 32; // answers are stored thinned out to at most so many rows and columns

/** The device computes something else than the export did. */
export class CanaryError extends Error {
  constructor(message) {
    super(message);
    this.name = "CanaryError";
  }
}

/**
 * Run the canary and compare.
 *
 * @param {ArrayBuffer} content - of canary.npz.
 * @param {Graphs} graphs - opened.
 * @throws {CanaryError} other answers than expected.
 */
export async function checkCanary(content, graphs) {
  const arrays = await readNpz(content);
  const { images, points } = arrays;
  const [, height, width] = images.shape;
  const cells = height * width;
  for (let index = 0; index < 2; index++) {
    const view = new View(graphs.frame, [height, width]);
    const pixels = images.data.subarray(index * cells * 3, (index + 1) * cells * 3);
    const embedding = await graphs.encode(view.encoderInput(rgbaRows(pixels, width)));
    const prompt = { points: [[...points.data.subarray(index * 2, index * 2 + 2)]], labels: [1], box: null, mask: null };
    const outputs = await graphs.decode(embedding, decoderFeeds(prompt, view, graphs.promptRules));
    const measured = { ...named("encoder", embedding), ...named("decoder", outputs) };
    compareAll(arrays, ["encoder", "decoder"], { measured, index });
  }
}

/**
 * Run the region encoder on what the canary holds for it, and compare.
 *
 * @param {ArrayBuffer} content - of canary.npz.
 * @param {Graphs} graphs - with a region encoder.
 * @throws {CanaryError} other answers than expected, or none to compare with.
 */
export async function checkWordCanary(content, graphs) {
  const arrays = await readNpz(content);
  const fed = arrays["feed:region_encoder:regions"];
  if (!fed) throw new CanaryError("the bundle's canary knows nothing of its words");
  const length = fed.data.length / fed.shape[0];
  for (let index = 0; index < fed.shape[0]; index++) {
    const rows = fed.data.slice(index * length, (index + 1) * length);
    const [first] = await graphs.embedRegions(rows, 1);
    const measured = { "region_encoder:region_embeddings": { data: first, dims: [1, first.length] } };
    compareAll(arrays, ["region_encoder"], { measured, index });
  }
}

/** Every answer of some roles, each by the limit of its graph. */
function compareAll(arrays, roles, { measured, index }) {
  for (const [name, expected] of Object.entries(arrays)) {
    const [role] = name.split(":");
    if (!roles.includes(role)) continue;
    const limit = (arrays[`min_cosine.${role}`] ?? arrays.min_cosine).data[0];
    compare(name, measured[name], expected, { index, limit });
  }
}

function named(role, tensors) {
  return Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [`${role}:${name}`, tensor]));
}

function rgbaRows(rgb, width) {
  return (top, rows) => {
    const out = new Uint8ClampedArray(rows * width * 4);
    for (let i = 0, from = top * width * 3; i < out.length; i += 4, from += 3) {
      out[i] = rgb[from];
      out[i + 1] = rgb[from + 1];
      out[i + 2] = rgb[from + 2];
      out[i + 3] = 255;
    }
    return out;
  };
}

function compare(name, measured, expected, { index, limit }) {
  if (!measured) throw new CanaryError(`it gives no ${name}`);
  const length = expected.data.length / expected.shape[0];
  const wanted = expected.data.subarray(index * length, (index + 1) * length);
  const found = thinned(measured);
  if (found.length !== length) throw new CanaryError(`${name} has another shape`);
  let [product, a, b] = [0, 0, 0];
  for (let i = 0; i < length; i++) {
    product += found[i] * wanted[i];
    a += found[i] ** 2;
    b += wanted[i] ** 2;
  }
  const cosine = product / Math.max(Math.sqrt(a * b), 1e-30);
  if (!(cosine >= limit)) {
    throw new CanaryError(`${name} of picture ${index} has cosine ${cosine.toFixed(4)}, limit ${limit}`);
  }
}

function thinned({ data, dims }) {
  const shape = dims.slice(1); // without the batch, whose first row counts
  const [high, wide] = shape.length > 1 ? shape.slice(-2) : [1, shape[0]];
  const channels = shape.length > 2 ? shape.slice(0, -2).reduce((x, y) => x * y, 1) : 1;
  const step = shape.length > 2 ? Math.max(Math.floor(wide / MOST_SIDE), 1) : 1;
  const out = new Float32Array(channels * Math.ceil(high / step) * Math.ceil(wide / step));
  let to = 0;
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < high; y += step) {
      for (let x = 0; x < wide; x += step) out[to++] = data[(c * high + y) * wide + x];
    }
  }
  return out;
}
