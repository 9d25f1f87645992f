// ONNX Runtime Web, for the processor or for the GPU: where it computes, and how it begins. Its way is the longest
// that a visitor waits for, and needs no bundle, so that a worker begins with it.

const RUNTIME = new URL("../runtime/", import.meta.url);
const MOST_THREADS = 8;
const BUILDS = {
  wasm: { module: "ort.wasm.min.mjs", loader: "ort-wasm-simd-threaded.mjs", binary: "ort-wasm-simd-threaded.wasm" },
  webgpu: { module: "ort.webgpu.min.mjs", loader: "ort-wasm-simd-threaded.asyncify.mjs",
    binary: "ort-wasm-simd-threaded.asyncify.wasm.gz" },
};

// y = x as ONNX: a graph that is opened only to have the library begin.
const SMALLEST = "CAg6NwoQCgF4EgF5IghJZGVudGl0eRIBZ1oPCgF4EgoKCAgBEgQKAggBYg8KAXkSCgoICAESBAoCCAFCBAoAEA0=";
const STAND_IN = new ArrayBuffer(1); // for a binary that is compiled already
const loaded = new Map(); // promises of the library, by the kind of device

/** Where it is computed: the wish, or the best that is here; `most` threads without a GPU. */
export async function placeFor({ device, threads }) {
  const most = self.crossOriginIsolated ? threads ?? usefulThreads(navigator.hardwareConcurrency ?? 1) : 1;
  const kind = device ?? (await hasFastGpu() ? "webgpu" : "wasm");
  return { device: kind, threads: kind === "wasm" ? most : 1, most };
}

/** Threads that pay: half of the cores. They wait for one another by spinning, and the page paints meanwhile. */
export function usefulThreads(cores) {
  return Math.min(MOST_THREADS, Math.max(1, Math.ceil(cores / 2)));
}

/** Have the library compiled and its threads started while a bundle is still on its way. */
export async function beginRuntime(device, threads) {
  const ort = await loadRuntime(device, threads);
  const graph = Uint8Array.from(atob(SMALLEST), (character) => character.charCodeAt(0));
  const session = await ort.InferenceSession.create(graph, { executionProviders: [device], logSeverityLevel: 3 });
  await session.release();
}

/** ONNX Runtime Web for one kind of device: "wasm" or "webgpu". */
export function loadRuntime(device, threads) {
  if (!loaded.has(device)) {
    const library = load(BUILDS[device], threads);
    library.catch(() => loaded.delete(device));
    loaded.set(device, library);
  }
  return loaded.get(device);
}

async function load({ module, loader, binary }, threads) {
  const own = { mjs: new URL(loader, RUNTIME).href };
  const isPacked = binary.endsWith(".gz");
  const content = isPacked ? unpacked(binary) : WebAssembly.compileStreaming(fetched(binary));
  content.catch(() => {}); // it is awaited below, or by the library
  const [ort] = await Promise.all([import(new URL(module, RUNTIME)), import(own.mjs)]);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.proxy = false; // we are in a worker already
  ort.env.wasm.wasmPaths = own;
  ort.env.wasm.wasmBinary = isPacked ? await content : STAND_IN;
  if (!isPacked) handOver(content);
  return ort;
}

/** Have the library take a module that is compiled while its code comes: by itself it asks for it only afterwards. */
function handOver(compiled) {
  const instantiate = WebAssembly.instantiate;
  WebAssembly.instantiate = async (bytes, imports) => {
    if (bytes.byteLength !== STAND_IN.byteLength) return instantiate(bytes, imports);
    WebAssembly.instantiate = instantiate;
    const module = await compiled;
    return { module, instance: await instantiate(module, imports) };
  };
}

async function fetched(name) {
  const response = await fetch(new URL(name, RUNTIME));
  if (!response.ok) throw new Error(`${name} cannot be loaded (${response.status}).`);
  return response;
}

async function unpacked(name) {
  const { body } = await fetched(name);
  return new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

/** Whether there is a GPU worth using; a software adapter is slower than the processor's own code. */
async function hasFastGpu() {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter)
      && !/swiftshader|llvmpipe/i.test(`${adapter.info?.architecture} ${adapter.info?.description}`);
  } catch {
    return false;
  }
}
