// The engine that computes in this browser: a worker that is started again when it is lost.

import { takeWorker } from "./start.js";

const CALLS_AGAIN = 1;
const CHECK_AFTER_MS = 150; // the page shows first that it is ready
const FATAL = "GraphError"; // of the library itself: what it computes in is not to be used any more

/** See engine.js. */
export function create(options) {
  return new LocalEngine(options);
}

class LostError extends Error {}

class LocalEngine {
  #worker = null;
  #lock = null; // its name
  #waiting = new Map();
  #photos = new Map(); // by the handle's id: what to encode again, {blob, region, isMirrored}
  #beside = null; // a promise of the engine of closer looks
  #next = 1;
  #start = null;
  #recovery = null; // a promise while a lost worker is replaced
  #device = null; // that computes

  constructor({ onLost = () => {}, onReopened = () => {}, device = null, threads = null } = {}) {
    this.onLost = onLost;
    this.onReopened = onReopened;
    this.wish = { device, threads };
    this.#begin();
  }

  async open(manifest, onProgress = () => {}, { isTrusted = false } = {}) {
    this.#start = { manifest, onProgress, isTrusted };
    const info = await this.#opened();
    if (isTrusted) return info;
    const checked = later(CHECK_AFTER_MS).then(() => this.#retried("checked", {}));
    return { ...info, checked };
  }

  async encode({ blob, bitmap = null, signal = null, region = null, isMirrored = false }) {
    const id = this.#next++;
    const leave = () => this.release({ id });
    signal?.addEventListener("abort", leave, { once: true });
    try {
      await this.#recovery;
      signal?.throwIfAborted();
      const part = { region, isMirrored };
      const result = await this.#call("encode", { id, blob: bitmap ? null : blob, bitmap, ...part }, { transfer: bitmap ? [bitmap] : [] })
        .catch((error) => this.#again(error, "encode", { id, blob, bitmap: null, ...part }));
      signal?.throwIfAborted();
      this.#photos.set(id, { blob, ...part });
      return { id, ...result };
    } finally {
      signal?.removeEventListener("abort", leave);
    }
  }

  /** In a worker of its own, for which no click waits, unless the GPU computes. */
  async encodePart(handle, part) {
    const { blob } = this.#photos.get(handle.id);
    const engine = this.#device === "webgpu" ? this : await this.#looking();
    return { ...(await engine.encode({ blob, ...part })), engine };
  }

  async decode(handle, prompt) {
    if (handle.engine && handle.engine !== this) return handle.engine.decode(handle, prompt);
    return this.#retried("decode", { id: handle.id, prompt });
  }

  async everything(handle, { pointsPerSide, progress = () => {}, signal = null }) {
    return this.#stoppable("everything", { id: handle.id, pointsPerSide }, { progress, signal });
  }

  async words() {
    return this.#retried("words", {});
  }

  async find(handle, { text, progress = () => {}, signal = null }) {
    return this.#stoppable("find", { id: handle.id, blob: this.#photos.get(handle.id).blob, text }, { progress, signal });
  }

  release(handle) {
    if (handle.engine && handle.engine !== this) {
      handle.engine.release(handle);
      return;
    }
    this.#photos.delete(handle.id);
    this.#worker?.postMessage({ method: "release", id: handle.id });
  }

  close() {
    this.#beside?.then((engine) => engine.close(), () => {});
    this.#beside = null;
    this.#start = null;
    this.#worker?.terminate();
    this.#worker = null;
  }

  /** The worker, for tests: what they end is started again. */
  get worker() {
    return this.#worker;
  }

  /** A worker that begins with what needs no bundle. */
  #begin() {
    const worker = takeWorker(this.wish.device, this.wish.threads);
    this.#worker = worker;
    const lock = `samedge-engine-${crypto.randomUUID?.() ?? Math.random()}`;
    this.#lock = lock;
    worker.onmessage = ({ data }) => this.#heard(data, worker, lock);
    worker.onerror = (event) => this.#lost(worker, event.message || "its code could not be loaded");
  }

  /** The engine of closer looks: a photo is encoded, so that the canary has been heard on the processor. */
  #looking() {
    this.#beside ??= (async () => {
      const engine = new LocalEngine({ device: "wasm", threads: 1 });
      await engine.open(this.#start.manifest, () => {}, { isTrusted: true });
      return engine;
    })();
    this.#beside.catch(() => (this.#beside = null));
    return this.#beside;
  }

  async #opened() {
    if (!this.#worker) this.#begin();
    const { manifest, onProgress, isTrusted } = this.#start;
    const info = await this.#call("open", { manifest, lock: this.#lock, isTrusted }, { progress: onProgress });
    this.#device = info.name;
    return info;
  }

  #heard(message, worker, lock) {
    if (message.locked) this.#watch(worker, lock);
    const call = this.#waiting.get(message.call);
    if (!call) return;
    if (message.progress) {
      call.progress(...message.progress);
      return;
    }
    if (message.error?.name === FATAL) {
      this.#lost(worker, message.error.message);
      return;
    }
    this.#waiting.delete(message.call);
    if (message.error) call.reject(Object.assign(new Error(message.error.message), { name: message.error.name }));
    else call.resolve(message.result);
  }

  /** The worker holds a lock for as long as it lives, so that its end is noticed, however it came. */
  #watch(worker, lock) {
    navigator.locks?.request(lock, () => this.#lost(worker, "it was ended by the browser"));
  }

  #lost(worker, reason) {
    if (worker !== this.#worker) return;
    worker.terminate();
    this.#worker = null;
    if (this.#device === "webgpu") this.wish.device = "wasm"; // a GPU that failed once is not tried again
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const call of waiting) call.reject(new LostError(`The worker that computes was lost: ${reason}.`));
    if (this.#start) this.onLost(reason);
  }

  async #stoppable(method, args, { progress, signal }) {
    const stop = () => this.#worker?.postMessage({ method: "stop" });
    signal?.addEventListener("abort", stop, { once: true });
    try {
      return await this.#retried(method, args, { progress, signal });
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  #call(method, args, { progress = () => {}, transfer = [] } = {}) {
    return new Promise((resolve, reject) => {
      if (!this.#worker) {
        reject(new LostError("The worker that computes was lost."));
        return;
      }
      const call = this.#next++;
      this.#waiting.set(call, { resolve, reject, progress });
      this.#worker.postMessage({ method, call, ...args }, transfer);
    });
  }

  async #retried(method, args, { progress, signal = null } = {}) {
    await this.#recovery;
    return this.#call(method, args, { progress }).catch((error) => this.#again(error, method, args, { progress, signal }));
  }

  /** Start again what was lost with the worker, and ask once more. */
  async #again(error, method, args, { progress, signal = null } = {}) {
    if (!(error instanceof LostError) || !this.#start) throw error;
    for (let left = CALLS_AGAIN; ; left--) {
      try {
        if (!this.#worker || this.#recovery) await this.#recovered();
        if (signal?.aborted) throw new Error("It was stopped.");
        return await this.#call(method, args, { progress });
      } catch (again) {
        if (!(again instanceof LostError)) throw again;
        if (left <= 0) throw new Error(`${again.message} It was started again, and lost again: there may be too little memory. Close other pages, or try a smaller photo.`);
      }
    }
  }

  /** Whoever misses the worker waits for the same new one. */
  #recovered() {
    this.#recovery ??= this.#restarted().finally(() => {
      this.#recovery = null;
    });
    return this.#recovery;
  }

  async #restarted() {
    this.onReopened(await this.#opened());
    for (const [id, photo] of this.#photos) await this.#call("encode", { id, bitmap: null, ...photo });
  }
}

function later(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
