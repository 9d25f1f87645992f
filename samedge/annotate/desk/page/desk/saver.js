// Saves every change as soon as the one before is on disk, and tries again where that fails.

import { chosenLogits } from "../modules/document.js";
import { maskFromLogits, rleFromMask } from "../modules/masks.js";
import { ask } from "./api.js";

const PAUSES_MS = [500, 1000, 2000, 5000];
const FINAL = [404, 409, 422, 400, 413]; // sending it again would not help

/** Emits "state" {state: "saved" | "saving" | "failed" | "lost", message}, and "figures" {figures}. */
export class Saver extends EventTarget {
  #known = new Map(); // results that the desk has, by id
  #pending = null;
  #running = null;
  #rles = new WeakMap();
  #isLost = false;
  #session = 0; // counts photos: what comes late of another is not this one's

  /** Begin with a photo, or with what the desk made of it; `flush` before. */
  begin(photo, objects, { view, threshold, seconds }) {
    this.#session += 1;
    this.#running = null;
    this.photo = photo;
    this.revision = photo.revision;
    this.view = view;
    this.threshold = threshold;
    this.seconds = seconds;
    this.#known = new Map(objects.map(({ id, result }) => [id, result]));
    this.#pending = null;
    this.#isLost = false;
    this.#tell("saved");
  }

  get isClean() {
    return !this.#pending && !this.#running;
  }

  /** Whether the photo belongs to somebody else now. */
  get isLost() {
    return this.#isLost;
  }

  /** Save a state; of several that wait, the newest. */
  save(objects, status) {
    if (!this.photo || this.#isLost) return;
    this.#pending = { objects, status, save_id: crypto.randomUUID() };
    if (!this.#running) this.#start();
  }

  #start() {
    const session = this.#session;
    const running = this.#run(session).finally(() => {
      if (session !== this.#session) return;
      this.#running = null;
      if (this.#pending) this.#start();
    });
    this.#running = running;
  }

  /** Wait until all is on disk; false where it cannot be. */
  async flush() {
    while (this.#running) await this.#running;
    return !this.#isLost;
  }

  async #run(session) {
    const unanswered = []; // they may have arrived all the same
    for (let failures = 0; this.#pending;) {
      const sent = this.#pending;
      this.#tell("saving");
      try {
        const answer = await ask(`/photos/${this.photo.id}/save`, { ...this.#request(sent), unanswered: unanswered.slice(-100) });
        if (session !== this.#session) return;
        failures = unanswered.length = 0;
        this.#took(sent, answer);
      } catch (error) {
        if (session !== this.#session) return;
        if (FINAL.includes(error.status)) return this.#lose(error.message);
        unanswered.push(sent.save_id);
        this.#tell("failed", error.message);
        await new Promise((resolve) => setTimeout(resolve, PAUSES_MS[Math.min(failures++, PAUSES_MS.length - 1)]));
        if (session !== this.#session) return;
      }
    }
    this.#tell("saved");
  }

  /** A state is on disk. */
  #took(sent, answer) {
    this.revision = answer.revision;
    this.#known = new Map(sent.objects.map(({ id, result }) => [id, result]));
    if (this.#pending === sent) this.#pending = null;
    this.dispatchEvent(new CustomEvent("figures", { detail: { figures: answer.figures } }));
  }

  #lose(message) {
    this.#pending = null;
    this.#isLost = true;
    this.#tell("lost", message);
  }

  #request({ objects, status, save_id }) {
    return {
      revision: this.revision, save_id, status, seconds: this.seconds(),
      masks: objects.filter(({ result }) => result).map((one) => this.#change(one)),
    };
  }

  #change({ id, decision, origin, category, result }) {
    const isKnown = this.#known.get(id) === result;
    const predicted_iou = result.exact ? result.predicted ?? null : Math.min(Math.max(result.iou[result.token], 0), 1);
    return { id, decision, origin, category, rle: isKnown ? null : this.#rle(result), predicted_iou };
  }

  #rle(result) {
    if (result.exact) return result.exact.rle;
    if (!this.#rles.has(result)) {
      this.#rles.set(result, rleFromMask(maskFromLogits(chosenLogits(result), this.view.axes(), this.threshold)));
    }
    return this.#rles.get(result);
  }

  #tell(state, message = "") {
    this.dispatchEvent(new CustomEvent("state", { detail: { state, message } }));
  }
}
