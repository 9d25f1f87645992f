// Prompts about one photo to objects of a document: what a click does.

import { chosenLogits, resultOf } from "./document.js";
import { isAmbiguous, mostPoints, PromptError } from "./prompts.js";

/**
 * Emits "answered" {start, object} when a mask is in the document, and "failed" {error}.
 *
 * Prompts are answered one after the other, since each builds on the mask of the one before.
 */
export class Segmenter extends EventTarget {
  #turn = Promise.resolve();
  #photo = 0;
  #hovered = null;
  #isHovering = false;

  /**
   * @param {object} engine - see engine.js.
   * @param {object} manifest - checked.
   * @param {MaskDocument} masks
   */
  constructor(engine, manifest, masks, buckets) {
    super();
    this.engine = engine;
    this.manifest = manifest;
    this.masks = masks;
    this.buckets = buckets;
    this.handle = null;
  }

  /** Let go of the photo: what is still asked about it is not answered any more. */
  leave() {
    if (this.handle) this.engine.release(this.handle);
    this.handle = null;
    this.#photo += 1;
    this.#hovered = null;
  }

  /** Take over an encoded photo. */
  use(handle) {
    this.leave();
    this.handle = handle;
  }

  click(point, label) {
    return this.#ask((object) => ({ ...object, points: [...object.points, point], labels: [...object.labels, label] }));
  }

  box(box) {
    return this.#ask((object) => ({ ...object, box }), { beginsAnew: true });
  }

  /** Count another of the masks that a decoder gave. */
  choose(token) {
    const object = this.masks.active;
    if (object?.result && object.result.token !== token) {
      this.masks.put({ ...object, result: { ...object.result, token } });
    }
  }

  /** Whether the model and the object take one more click. */
  #check({ points, box }) {
    const most = mostPoints(this.buckets, { hasBox: Boolean(box) });
    if (points.length > most) {
      throw new PromptError(`This model takes at most ${most} clicks on an object: undo some, or start a new object.`);
    }
  }

  #ask(change, { beginsAnew = false } = {}) {
    const photo = this.#photo;
    const answered = this.#turn.then(async () => {
      if (photo !== this.#photo || !this.handle) return;
      const start = performance.now();
      const active = this.masks.active;
      const before = beginsAnew && active?.box ? this.masks.draft() : active ?? this.masks.draft();
      const object = change(before);
      this.#check(object);
      const result = await this.#decoded(object, before.result);
      if (photo !== this.#photo) return;
      this.masks.put({ ...object, result });
      this.dispatchEvent(new CustomEvent("answered", { detail: { start, object: { ...object, result } } }));
    });
    this.#turn = answered.catch((error) => {
      this.dispatchEvent(new CustomEvent("failed", { detail: { error } }));
    });
    return this.#turn;
  }

  async #decoded(object, before) {
    const takesMask = this.manifest.prompts.includes("mask");
    const mask = before && takesMask ? chosenLogits(before).slice() : null;
    const prompt = { points: object.points, labels: object.labels, box: object.box, mask };
    const { logits, iou } = await this.engine.decode(this.handle, prompt);
    return resultOf({ logits, iou }, { isAmbiguous: isAmbiguous(prompt) });
  }

  /**
   * What a click at a place would give, for a preview. The newest place wins.
   *
   * @returns {Promise<{result: object | null, ms: number} | null>} null where another place or
   *   another photo came between.
   */
  async hover(point) {
    this.#hovered = point;
    if (this.#isHovering || !point || !this.handle) return null; // the newest place comes next
    this.#isHovering = true;
    const photo = this.#photo;
    const start = performance.now();
    try {
      const prompt = { points: [point], labels: [1], box: null, mask: null };
      const found = await this.engine.decode(this.handle, prompt);
      if (photo !== this.#photo) return null;
      return { result: resultOf(found, { isAmbiguous: true }), ms: performance.now() - start };
    } finally {
      this.#isHovering = false;
    }
  }

  /** The place that the pointer went to since the last hover. */
  get hovered() {
    return this.#hovered;
  }

  /**
   * Find everything; what was found until `signal` is an entry each in the document.
   *
   * @returns {Promise<number | null>} how many; null where another photo came between.
   */
  async everything({ pointsPerSide, progress, signal }) {
    const photo = this.#photo;
    const found = await this.engine.everything(this.handle, { pointsPerSide, progress, signal });
    if (photo !== this.#photo) return null;
    this.masks.putAll(found.map(({ logits, iou, point }) => ({
      ...this.masks.draft(), points: [point], labels: [1],
      result: { logits, iou: Float32Array.of(iou), tokens: [], token: 0 },
    })));
    return found.length;
  }
}
