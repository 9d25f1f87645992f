// Closer looks at the photo that is shown: their switch, what they took, and their code, which is
// loaded when the first of them is wanted.

import { milliseconds } from "./status.js";

/** The looks of one photo. */
class Looker {
  #look = null; // a promise

  /** As of SecondLook, see second-look.js. */
  constructor(engine, manifest, photo) {
    this.given = [engine, manifest, photo];
  }

  /**
   * Decide a prompt again.
   *
   * @param {object} prompt - with the region of its mask.
   * @param {object} first - its result.
   * @param {() => boolean} isOff - whether nobody waits for it any more.
   * @returns {Promise<{result: object | null, encoded: number, ms: number} | null>} the better result,
   *   and how many parts were encoded for it; null where it was left.
   */
  async look(prompt, first, isOff) {
    const start = performance.now();
    this.#look ??= import("./second-look.js").then(({ SecondLook }) => new SecondLook(...this.given));
    const look = await this.#look;
    const before = look.encoded;
    const result = await look.result(prompt, first, isOff);
    return isOff() ? null : { result, encoded: look.encoded - before, ms: performance.now() - start };
  }

  /** Give the memory of encoded parts back. */
  release() {
    this.#look?.then((look) => look.release(), () => {});
  }
}

/** Whether small things are looked at closer, as the page's switch says, and what that took. */
export class CloserLooks {
  #photo = null;

  /**
   * @param {(id: string) => HTMLElement} byId
   * @param {Status} status
   * @param {object} opened - {engine, manifest, segmenter}.
   */
  constructor(byId, status, opened) {
    Object.assign(this, { byId, status, ...opened });
    byId("closer-option").hidden = !this.engine.encodePart;
    byId("closer").addEventListener("change", () => this.use(this.#photo));
    this.segmenter.addEventListener("looked", ({ detail }) => this.#looked(detail));
    this.segmenter.addEventListener("blind", ({ detail }) => this.#blind(detail.error));
  }

  /** Look at a photo, {handle, view}. */
  use(photo) {
    this.#photo = photo;
    const isOn = photo && photo.handle === this.segmenter.handle && this.engine.encodePart && this.byId("closer").checked;
    this.segmenter.looksBy(isOn ? new Looker(this.engine, this.manifest, photo) : null);
  }

  #looked({ result, encoded, ms }) {
    if (encoded) {
      this.byId("look-time").hidden = false;
      this.byId("look-time").textContent = `Closer look ${milliseconds(ms)} ms`;
    }
    if (result?.focus) this.status.announce("It was looked at closer, and its outline is finer now.");
    const { dataset } = document.documentElement;
    dataset.looks = String(1 + Number(dataset.looks ?? 0));
  }

  /** Without closer looks the page goes on as before. */
  #blind(error) {
    this.byId("closer").checked = false;
    this.use(this.#photo);
    this.status.note(`Small things are not looked at closer: ${String(error?.message ?? error).replace(/\.$/, "")}.`);
  }
}
