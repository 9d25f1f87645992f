// The engine that computes on the server that gave the page: `samedge serve`. See engine.js.

const API = new URL("../api/v1/", import.meta.url);
const TRIES = 30; // of a request that the server is too busy for
const MOST_WAIT_S = 5;

/** See engine.js. */
export function create() {
  return new ServerEngine();
}

class ServerEngine {
  #photos = new Map(); // by the server's id: what to send again where it dropped it
  #bundle = null; // the id of the one whose manifest the page reads

  async open(manifest) {
    this.#bundle = manifest.id;
    const model = await this.#json("model");
    const { name, version, device } = model.backend;
    return { name, threads: null, notes: [], label: `${name} ${version ?? ""} on the server, ${device}` };
  }

  async encode({ blob, bitmap = null, signal = null }) {
    bitmap?.close();
    const { image, timing_ms } = await this.#sent(blob, signal);
    this.#photos.set(image.id, blob);
    return { id: image.id, size: [image.height, image.width], timing: timing_ms };
  }

  async decode(handle, { points, labels, box, mask }) {
    const low_res_logits = mask ? textOf(mask) : null;
    const found = await this.#about(handle, "logits", { points, labels, box, low_res_logits });
    const answer = await found.json();
    return {
      logits: floatsOf(answer.low_res_logits),
      iou: Float32Array.from(answer.predicted_iou),
      timing: { decode: answer.timing_ms.decode },
    };
  }

  async everything(handle, { pointsPerSide, progress = () => {}, signal = null }) {
    const settings = { points_per_side: pointsPerSide, low_res_logits: true };
    return (await this.#streamed(handle, "everything", settings, { progress, signal })).found;
  }

  async words() {
    const { words, reads_phrases: readsPhrases } = await this.#json("words");
    const names = words.filter(({ off }) => off === null).map(({ name }) => name);
    return names.length || readsPhrases ? { names, readsPhrases } : null;
  }

  async find(handle, { text, progress = () => {}, signal = null }) {
    return this.#streamed(handle, "find", { text, low_res_logits: true }, { progress, signal });
  }

  /** The masks of a stream; what came until it was stopped. */
  async #streamed(handle, what, settings, listen) {
    const all = { found: [], words: [] };
    try {
      for await (const line of this.#lines(handle, what, settings, listen)) {
        if (line.type === "mask") all.found.push(entryOf(line));
        else all.words = line.words ?? [];
      }
    } catch (error) {
      if (!listen.signal?.aborted) throw error;
    }
    return all;
  }

  /** The masks of a stream as they come, and its end. */
  async* #lines(handle, what, settings, { progress, signal }) {
    let isWhole = false;
    for await (const line of linesOf(await this.#about(handle, what, settings, signal))) {
      if (line.type === "progress") progress(line.done, line.total);
      else if (line.type === "error") throw new Error(line.error.message);
      else if (line.type === "mask" || line.type === "completed") yield line;
      isWhole ||= line.type === "completed";
    }
    if (!isWhole) throw new Error("The server broke off its answer: is it still running?");
  }

  release(handle) {
    // The server drops what nobody asks about; another page may look at the same photo.
    this.#photos.delete(handle.id);
  }

  close() {
    this.#photos.clear();
  }

  async #sent(blob, signal = null) {
    const headers = { "Content-Type": "application/octet-stream" };
    const answer = await (await this.#asked("images", { method: "POST", headers, body: blob, signal })).json();
    if (answer.bundle.id !== this.#bundle) throw new Error("The server computes with another model now: reload the page.");
    return answer;
  }

  /** Ask about a photo; where the server has dropped it, it is sent again once. */
  async #about(handle, what, body, signal = null) {
    const path = `images/${handle.id}/${what}`;
    const headers = { "Content-Type": "application/json" };
    const options = { method: "POST", headers, body: JSON.stringify(body), signal };
    try {
      return await this.#asked(path, options);
    } catch (error) {
      const blob = this.#photos.get(handle.id);
      if (error.status !== 404 || !blob) throw error;
      await this.#sent(blob, signal);
      return this.#asked(path, options);
    }
  }

  async #json(path) {
    return (await this.#asked(path, {})).json();
  }

  async #asked(path, options) {
    for (let left = TRIES; ; left--) {
      const response = await reached(new URL(path, API), options);
      if (response.ok) return response;
      if (response.status !== 429 || !left) throw await errorOf(response);
      const seconds = Math.min(Number(response.headers.get("Retry-After")) || 1, MOST_WAIT_S);
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    }
  }
}

async function reached(address, options) {
  try {
    return await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is it still running?");
  }
}

async function errorOf(response) {
  const document = await response.json().catch(() => ({}));
  const message = document.message ?? `The server answered ${response.status}.`;
  return Object.assign(new Error(message), { status: response.status, kind: document.kind });
}

/** The documents of an answer that has one a line. */
async function* linesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
  if (rest) yield JSON.parse(rest);
}

function entryOf({ mask, low_res_logits }) {
  const { predicted_iou, stability_score, point, category, word_score } = mask;
  return { logits: floatsOf(low_res_logits), iou: predicted_iou, stability: stability_score, point, word: category, score: word_score };
}

/** float32 numbers of base64; browsers run on little-endian machines alone. */
function floatsOf(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

function textOf(floats) {
  const bytes = new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
  let text = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}
