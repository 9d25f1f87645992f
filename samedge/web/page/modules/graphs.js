// A bundle's encoder and decoder, opened by ONNX Runtime Web on the processor or on the GPU.

import { graphOf, promptBuckets } from "./manifest.js";
import { loadRuntime } from "./runtime.js";

/** The library failed: memory ran out, the GPU was lost. It is not to be asked again. */
export class GraphError extends Error {
  constructor(role, error) {
    super(`the ${role} failed (${String(error?.message ?? error).split("\n")[0].replace(/\.$/, "").slice(0, 200)})`);
    this.name = "GraphError";
  }
}

/** The graphs of a bundle, opened. One call at a time: ONNX Runtime Web's sessions do not run side by side. */
export class Graphs {
  #queue = Promise.resolve();
  #options;

  constructor(ort, manifest, { device, threads }) {
    this.ort = ort;
    this.manifest = manifest;
    this.frame = manifest.frame;
    this.device = device;
    this.threads = threads;
    this.sessions = {};
    this.promptRules = { kinds: manifest.prompts, buckets: promptBuckets(manifest) };
    this.#options = {
      executionProviders: [device], graphOptimizationLevel: "all", logSeverityLevel: 3,
      enableCpuMemArena: false, enableMemPattern: false, // an arena grows by doubling and keeps it: more memory, no less time
      extra: { session: { force_spinning_stop: "1" } }, // between two runs the cores are the page's, that has to paint
    };
  }

  /**
   * @param {object} manifest - checked.
   * @param {{device: "wasm" | "webgpu", threads: number}} where
   */
  static async on(manifest, { device, threads }) {
    return new Graphs(await loadRuntime(device, threads), manifest, { device, threads });
  }

  /** Open the graph of a role from its file, unless it is open. */
  async open(role, file) {
    this.sessions[role] ??= await this.ort.InferenceSession.create(new Uint8Array(await file), this.#options);
  }

  /** The embedding of an (S, S, 3) input: {name: {data, dims}}; `check` throws where its turn comes too late. */
  async encode(pixels, check = () => {}) {
    const side = this.frame.target_length;
    return this.#run("encoder", { image: new this.ort.Tensor("uint8", pixels, [1, side, side, 3]) }, check);
  }

  /** The decoder's outputs: {low_res_masks, iou_predictions}. */
  async decode(embedding, feeds) {
    const wanted = graphOf(this.manifest, "decoder").inputs.map((tensor) => tensor.name);
    const given = { ...embedding, ...feeds };
    const tensors = wanted.map((name) => [name, new this.ort.Tensor("float32", given[name].data, given[name].dims)]);
    return this.#run("decoder", Object.fromEntries(tensors));
  }

  /** Open a further graph; its turn comes after what runs. */
  add(role, content) {
    const call = this.#queue.then(() => this.open(role, content).catch((error) => {
      throw new GraphError(role, error);
    }));
    this.#queue = call.catch(() => {});
    return call;
  }

  /** Embeddings of the first `count` of some crops, (B, S, S, 3) uint8. */
  async embedRegions(data, count) {
    const side = graphOf(this.manifest, "region_encoder").inputs[0].shape[1];
    const regions = new this.ort.Tensor("uint8", data, [data.length / (side * side * 3), side, side, 3]);
    const { region_embeddings: found } = await this.#run("region_encoder", { regions });
    const width = found.dims[1];
    return Array.from({ length: count }, (_, index) => found.data.slice(index * width, (index + 1) * width));
  }

  #run(role, feeds, check = () => {}) {
    const call = this.#queue.then(async () => {
      check();
      const found = await outputs(this.sessions[role], feeds).catch((error) => {
        throw new GraphError(role, error);
      });
      checkFinite(role, found);
      return found;
    });
    this.#queue = call.catch(() => {});
    return call;
  }

  async release() {
    for (const session of Object.values(this.sessions)) await session.release();
  }
}

async function outputs(session, feeds) {
  const found = {};
  for (const [name, tensor] of Object.entries(await session.run(feeds))) {
    found[name] = { data: tensor.location === "cpu" ? tensor.data : await tensor.getData(), dims: [...tensor.dims] };
  }
  return found;
}

function checkFinite(role, tensors) {
  for (const [name, { data }] of Object.entries(tensors)) {
    for (let i = 0; i < data.length; i++) {
      if (!Number.isFinite(data[i])) throw new Error(`The ${role} gave ${name} that are no numbers.`);
    }
  }
}
