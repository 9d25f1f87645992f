// What the worker does: opens the bundle, encodes photos, decodes prompts.

import { checkCanary, CanaryError } from "./canary.js";
import { View } from "./frame.js";
import { Graphs } from "./graphs.js";
import { mirroredRegion } from "./focus-plan.js";
import { BundleError, graphOf } from "./manifest.js";
import { decoderFeeds } from "./prompts.js";

const MOST_PIXELS = 150_000_000;
const BUNDLE = new URL("../", import.meta.url);
const TURN = 4; // decodes before messages are heard
const USUAL_PHOTO = [1080, 1920]; // the code that prepares photos is run in with so many pixels,
const USUAL_ROWS = 256; // so many rows at a time,
const RUNS_IN = 4; // so often,
const ENCODES_IN = 3; // and what comes of it is encoded so often

let graphs = null;
let trusted = null; // a promise, rejected where the canary has other answers than the export
let files = null; // promises of the bundle's files, until they are used
let canary = null; // a promise of its file, if there is one
let isStopped = false;
let finder = null; // of words: a promise
const photos = new Map(); // by the handle's id: {view, embedding}
const wanted = new Set(); // ids of photos that somebody waits for, or asks about

const methods = {
  /** `isTrusted` where another worker has heard the canary on the same files and the same kind of device. */
  async open({ manifest, lock, isTrusted = false, begun }, progress) {
    await held(lock);
    const given = fetched(manifest, progress, { withCanary: !isTrusted });
    const where = await begun;
    const notes = [];
    if (where.device === "webgpu") {
      try {
        const found = await opened(manifest, given, where, notes);
        await trust();
        return found;
      } catch (error) {
        if (error instanceof BundleError) throw error;
        notes.push(`The GPU is not used: ${short(error)}.`);
      }
    }
    return opened(manifest, given, { device: "wasm", threads: where.most }, notes);
  },

  /** Until the canary has been heard; photos wait for it. */
  async checked() {
    await trust();
    await runIn();
    rare().catch(() => {}); // whoever needs it hears of it
  },

  /** Of the photo, or of a region of it, mirrored or not: the pixels are those of the whole photo. */
  async encode({ id, blob, bitmap, region = null, isMirrored = false }) {
    wanted.add(id);
    const picture = bitmap ?? (await createImageBitmap(blob, { colorSpaceConversion: "none" }));
    const start = performance.now();
    let view;
    let pixels;
    try {
      const size = [picture.height, picture.width];
      view = new View(graphs.frame, size, region && isMirrored ? mirroredRegion(region, size) : region);
      pixels = view.encoderInput(rowsOf(picture, { region, isMirrored }));
    } finally {
      picture.close();
    }
    const prepared = performance.now();
    await trust();
    const encoding = performance.now();
    const embedding = await graphs.encode(pixels, () => checkWanted(id));
    checkWanted(id);
    photos.set(id, { view, embedding });
    return { size: view.size, timing: { preprocess: prepared - start, encode: performance.now() - encoding } };
  },

  async decode({ id, prompt }) {
    const start = performance.now();
    const { logits, iou } = await decoded(photoOf(id), prompt);
    return [{ logits, iou, timing: { decode: performance.now() - start } }, [logits.buffer]];
  },

  async everything({ id, pointsPerSide }, progress) {
    isStopped = false;
    const photo = photoOf(id);
    const { everything } = await rare();
    let turn = 0;
    const decode = async (prompt) => {
      if (++turn % TURN === 0) await nextTurn();
      return decoded(photo, prompt);
    };
    return everything(decode, photo.view, graphs.manifest, {
      pointsPerSide, progress, isStopped: () => isStopped,
    });
  },

  /** Words that may be asked for; null where the model understands none. */
  async words() {
    const table = await (await wordFinder()).table();
    return table && { names: table.names, readsPhrases: false };
  },

  async find({ id, blob, text }, progress) {
    const words = await wordFinder();
    const asked = (await words.table()).asked(text);
    const proposals = await methods.everything({ id, pointsPerSide: null }, progress);
    if (isStopped) return { found: [], words: [] };
    const picture = await createImageBitmap(blob, { colorSpaceConversion: "none" });
    return words.find({ asked, proposals, picture, view: photoOf(id).view });
  },

  release({ id }) {
    wanted.delete(id);
    photos.delete(id);
  },

  stop() {
    isStopped = true;
  },
};

/** Do what a message asks for, and send the answer. `begun` is a promise of where it is computed, once the library is there. */
export async function answer({ method, call, ...args }, begun) {
  try {
    const found = await methods[method]({ ...args, begun }, (...progress) => self.postMessage({ call, progress }));
    const [result, transfer] = Array.isArray(found) && method === "decode" ? found : [found, []];
    if (call) self.postMessage({ call, result }, transfer);
  } catch (error) {
    if (call) self.postMessage({ call, error: { name: error?.name ?? "Error", message: short(error) } });
  }
}

/** Hold a lock for good: the page notices our end by its release. */
function held(lock) {
  if (!navigator.locks) return undefined;
  return new Promise((resolve) => {
    navigator.locks.request(lock, () => {
      self.postMessage({ locked: true });
      resolve();
      return new Promise(() => {});
    });
  });
}

/** Open the encoder, which photos need first; the decoder, whose file is here by then, comes with the canary. */
async function opened(manifest, from, { device, threads }, notes) {
  const found = await Graphs.on(manifest, { device, threads });
  await Promise.all([found.open("encoder", from.encoder), from.decoder]);
  if (device === "wasm") delete from.encoder; // nothing opens it again
  [graphs, trusted, files] = [found, null, from];
  finder = null;
  canary = manifest.words ? from.canary : null;
  return { name: device, threads, notes, label: label(device, threads) };
}

/** The code for what is asked for rarely: a page is ready before it is here. */
async function rare() {
  const [{ everything }, { WordFinder }] = await Promise.all([import("./everything.js"), import("./word-finder.js")]);
  return { everything, WordFinder };
}

async function wordFinder() {
  finder ??= rare().then(({ WordFinder }) => new WordFinder(graphs, {
    canary, load: (path) => content(path, hashOf(graphs.manifest, path), () => {}),
  }));
  finder.catch(() => (finder = null));
  return finder;
}

/** Open what is not open yet and run the canary, once. */
function trust() {
  trusted ??= checked(graphs);
  return trusted;
}

/** Prepare black photos, and encode one: browsers translate what has run for a while, and the first photo finds it done. */
async function runIn() {
  const [, width] = USUAL_PHOTO;
  let input = null;
  const black = await createImageBitmap(new ImageData(width, USUAL_ROWS));
  try {
    for (let left = RUNS_IN; left > 0 && !wanted.size; left--) {
      const strip = rowsOf(black, {});
      input = new View(graphs.frame, USUAL_PHOTO).encoderInput((top, rows) => strip(0, rows));
      await nextTurn(); // of a photo that is here by now
    }
  } finally {
    black.close();
  }
  for (let left = ENCODES_IN; left > 0 && !wanted.size; left--) await graphs.encode(input);
}

async function checked(found) {
  try {
    await found.open("decoder", files.decoder);
    if (files.canary) await checkCanary(await files.canary, found);
    files = null;
  } catch (error) {
    await found.release().catch(() => {}); // its memory goes with the worker
    if (!(error instanceof CanaryError)) throw error;
    if (found.device === "webgpu") throw new Error(`it computes something else than the export did (${short(error)})`);
    throw new BundleError(`This browser computes something else than the export did (${short(error)}), so its masks cannot be trusted.`);
  }
}

function label(device, threads) {
  if (device === "webgpu") return "WebGPU";
  return threads > 1 ? `WebAssembly, ${threads} threads` : "WebAssembly, 1 thread";
}

/** The files of a bundle, on their way; each with the manifest's hash. */
function fetched(manifest, progress, { withCanary }) {
  const roles = ["encoder", "decoder"];
  const total = roles.reduce((sum, role) => sum + artifactOf(manifest, role).bytes, 0);
  let done = 0;
  const advance = (bytes) => {
    done += bytes;
    progress(done, total);
  };
  const files = Object.fromEntries(roles.map((role) => {
    const { path, sha256 } = artifactOf(manifest, role);
    return [role, content(path, sha256, advance)];
  }));
  if (withCanary && manifest.canary_sha256) files.canary = content("canary.npz", manifest.canary_sha256, () => {});
  for (const file of Object.values(files)) file.catch(() => {}); // whoever awaits it hears of it
  return files;
}

function artifactOf(manifest, role) {
  const path = graphOf(manifest, role).artifact;
  const found = manifest.artifacts.find((artifact) => artifact.path === path);
  if (!found) throw new BundleError(`The bundle has its ${role} in ${path}, which is none of its artifacts.`);
  if (Object.keys(found.files).length !== 1) {
    throw new BundleError(`The bundle's ${role} lies in several files, which a page does not open.`);
  }
  return found;
}

/** Hash of a file of the bundle. */
function hashOf(manifest, path) {
  const found = manifest.artifacts.find((artifact) => artifact.path === path);
  if (!found) throw new BundleError(`The bundle names ${path}, which is none of its artifacts.`);
  return found.sha256;
}

async function content(path, sha256, advance) {
  const response = await fetch(new URL(path, BUNDLE)).catch(() => null);
  if (!response?.ok) throw new BundleError(`${path} cannot be loaded${response ? ` (${response.status})` : ""}: check the connection and reload the page.`);
  const counted = response.body.pipeThrough(new TransformStream({
    transform(chunk, controller) {
      advance(chunk.byteLength);
      controller.enqueue(chunk);
    },
  }));
  const buffer = await new Response(counted).arrayBuffer();
  if (crypto.subtle) {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", buffer));
    const found = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    if (found !== sha256) {
      throw new BundleError(`${path} is damaged or belongs to another bundle: its hash is not the manifest's. Reload the page, or export the bundle again.`);
    }
  }
  return buffer;
}

/** Reads rows of RGBA from a picture, or from a region of it; mirrored ones from right to left. */
function rowsOf(picture, { region = null, isMirrored = false } = {}) {
  if (picture.width * picture.height > MOST_PIXELS) {
    throw new Error(`The photo has ${Math.round(picture.width * picture.height / 1e6)} megapixels, the limit is ${MOST_PIXELS / 1e6}: make it smaller first.`);
  }
  const [x0, y0, x1] = region ?? [0, 0, picture.width];
  const width = x1 - x0;
  let canvas = null;
  let context = null;
  return (top, rows) => {
    if (canvas?.height !== rows) {
      canvas = new OffscreenCanvas(width, rows);
      context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
    }
    context.drawImage(picture, x0, y0 + top, width, rows, 0, 0, width, rows);
    const { data } = context.getImageData(0, 0, width, rows);
    if (isMirrored) for (let row = 0; row < rows; row++) new Uint32Array(data.buffer, row * width * 4, width).reverse();
    return data;
  };
}

/** A photo that is gone before its turn is not computed, nor kept. */
function checkWanted(id) {
  if (!wanted.has(id)) throw new Error("Another photo was opened.");
}

function photoOf(id) {
  const photo = photos.get(id);
  if (!photo) throw new Error("This photo is not encoded: open it again.");
  return photo;
}

async function decoded({ view, embedding }, prompt) {
  const feeds = decoderFeeds(prompt, view, graphs.promptRules);
  const { low_res_masks: masks, iou_predictions: iou } = await graphs.decode(embedding, feeds);
  const perPrompt = 4 * view.lowResSide ** 2;
  const logits = masks.data.length === perPrompt ? masks.data : masks.data.slice(0, perPrompt); // ours either way
  return { logits, iou: iou.data.slice(0, 4) };
}

function nextTurn() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

function short(error) {
  return String(error?.message ?? error).split("\n")[0].replace(/\.$/, "").slice(0, 300);
}
