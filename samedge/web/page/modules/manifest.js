// The bundle's manifest: read strictly, as samedge does in Python. What is not known is refused.

const SCHEMA = "samedge.bundle/2";
const RESIZES = ["longest_side_bilinear", "square_bilinear"];
const PREPROCESSES = ["exact", "fast"];
const ROLES = ["encoder", "prompts", "decoder", "memory_encoder", "memory_attention", "region_encoder",
  "text_encoder", "meta_encoder", "meta_decoder", "anylabeling_encoder", "anylabeling_decoder"];
const PROMPTS = ["point", "box", "mask", "text"];
const FORMATS = ["onnx"];
const DTYPES = ["float32", "uint8"];
const FIELDS = {
  manifest: ["schema", "id", "samedge_version", "created", "model", "target", "backend", "precision",
    "input_size", "frame", "prompts", "thresholds", "graphs", "artifacts", "versions", "device",
    "options", "canary_sha256", "parity", "accuracy", "plan", "gate", "notes", "words"],
  frame: ["target_length", "resize", "color", "layout", "pad_value", "mean", "std", "preprocess"],
  thresholds: ["mask", "stability_offset", "predicted_iou", "stability", "everything"],
  words: ["table", "model", "enlarge", "outside", "threshold", "label_threshold", "suppression", "merges", "templates", "cosine_min"],
  everything: ["points_per_side", "suppression", "stability_weight", "crop_layers", "crops_by_rank",
    "crop_points_downscale", "coarse_to_fine", "redrawn", "closer_layers", "crop_suppression",
    "soft_nms_sigma"],
  graph: ["role", "artifact", "format", "precision", "inputs", "outputs", "shapes", "options", "device"],
  tensor: ["name", "dtype", "shape"],
};
const AGAIN = "Export the bundle again with this version of samedge.";

/** A bundle that this page cannot use; its message says why and what to do. */
export class BundleError extends Error {
  constructor(message) {
    super(message);
    this.name = "BundleError";
  }
}

/**
 * Check a manifest and give what the page needs of it.
 *
 * @param {object} value - content of bundle.json.
 * @returns {object} the same, frozen.
 * @throws {BundleError} another schema, or a word that this page does not know.
 */
export function readManifest(value) {
  if (value?.schema !== SCHEMA) {
    throw new BundleError(`The bundle has schema ${value?.schema}, and this page knows ${SCHEMA}. ${AGAIN}`);
  }
  checkFields("manifest", value);
  checkFields("frame", value.frame);
  checkFields("thresholds", value.thresholds);
  if (value.thresholds.everything) checkFields("everything", value.thresholds.everything);
  if (value.words) checkFields("words", value.words);
  checkFrame(value.frame, value.input_size);
  checkWords("prompts of kind", value.prompts, PROMPTS);
  for (const graph of value.graphs) checkGraph(graph);
  for (const role of ["encoder", "decoder"]) graphOf(value, role);
  if (graphOf(value, "prompts", { optional: true })) {
    throw new BundleError(`The bundle's decoder comes in two graphs, which this page does not run. ${AGAIN}`);
  }
  return Object.freeze(value);
}

/**
 * The graph with a role.
 *
 * @throws {BundleError} there is none, unless it is optional.
 */
export function graphOf(manifest, role, { optional = false } = {}) {
  const found = manifest.graphs.find((graph) => graph.role === role);
  if (!found && !optional) throw new BundleError(`The bundle has no ${role}. ${AGAIN}`);
  return found;
}

/** `[batch, points]` of the decoder's fixed shapes, the smallest first; none where it takes any. */
export function promptBuckets(manifest) {
  return graphOf(manifest, "decoder").shapes
    .filter((shapes) => shapes.point_coords)
    .map((shapes) => shapes.point_coords.slice(0, 2))
    .sort((a, b) => a[0] * a[1] - b[0] * b[1]);
}

/** How everything mode looks and chooses; the defaults are those of samedge in Python. */
export function everythingRules({ thresholds }) {
  const { points_per_side: pointsPerSide = 32, suppression = 0.7, stability_weight: stabilityWeight = 0,
    coarse_to_fine: coarseToFine = true, redrawn = false,
    soft_nms_sigma: softNmsSigma = 0 } = thresholds.everything ?? {};
  return { pointsPerSide, suppression, stabilityWeight, coarseToFine, redrawn, softNmsSigma };
}

function checkGraph(graph) {
  checkFields("graph", graph);
  checkWords("a graph with role", [graph.role], ROLES);
  checkWords("a graph of format", [graph.format], FORMATS);
  for (const tensor of [...graph.inputs, ...graph.outputs]) {
    checkFields("tensor", tensor);
    checkWords("a tensor of dtype", [tensor.dtype], DTYPES);
  }
}

function checkFrame(frame, inputSize) {
  checkWords("a frame with resize", [frame.resize], RESIZES);
  checkWords("a frame with color", [frame.color], ["RGB"]);
  checkWords("a frame with layout", [frame.layout], ["NHWC"]);
  checkWords("a frame with preprocess", [frame.preprocess ?? "exact"], PREPROCESSES);
  const side = frame.target_length;
  if (side !== inputSize || !(side >= 16 && side <= 8192) || side % 16) {
    throw new BundleError(`The bundle's input size is ${side}, expected a multiple of 16. ${AGAIN}`);
  }
}

function checkFields(kind, value) {
  if (value === null || typeof value !== "object") {
    throw new BundleError(`The bundle's ${kind} is missing. ${AGAIN}`);
  }
  const foreign = Object.keys(value).filter((name) => !FIELDS[kind].includes(name));
  if (foreign.length) {
    throw new BundleError(`The bundle's ${kind} has ${foreign[0]}, which this page does not know. ${AGAIN}`);
  }
}

function checkWords(what, given, known) {
  const foreign = given.filter((word) => !known.includes(word));
  if (foreign.length) {
    throw new BundleError(`The bundle has ${what} "${foreign[0]}", and this page knows ${known.join(", ")}. ${AGAIN}`);
  }
}
