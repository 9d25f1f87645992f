// Seconds of work: the time between two actions counts, but never more than the longest pause that
// is still work, and nothing while the page is hidden.

const ACTIONS = ["pointerdown", "pointermove", "keydown", "wheel"];

export class Clock {
  #seconds = 0;
  #last = null;

  /** @param {number} idleS - the longest pause that counts. */
  constructor(idleS) {
    this.idleS = idleS;
    for (const name of ACTIONS) addEventListener(name, () => this.act(), { passive: true, capture: true });
    document.addEventListener("visibilitychange", () => this.#turned());
  }

  /** Begin with what was counted before. */
  start(seconds) {
    this.#seconds = seconds;
    this.#last = document.hidden ? null : performance.now();
  }

  /** Somebody did something. */
  act() {
    const now = performance.now();
    if (this.#last !== null) this.#seconds += Math.min((now - this.#last) / 1000, this.idleS);
    this.#last = now;
  }

  get seconds() {
    return this.#seconds;
  }

  #turned() {
    if (document.hidden && this.#last !== null) {
      this.act();
      this.#last = null;
    } else if (!document.hidden) this.#last = performance.now();
  }
}
