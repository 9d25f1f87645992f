// Keeps values up to so many bytes; what went unused longest is dropped first.

const LEAST = 256; // bytes that any value counts for

/** Values by a source, an object that counts by its own bytes, and a name; all of a source are dropped together. */
export class Kept {
  #sources = new Map(); // the one that went unused longest first
  #bytes = 0;
  #turn = 0;

  /** @param {number} most - bytes. */
  constructor(most) {
    this.most = most;
  }

  get bytes() {
    return this.#bytes;
  }

  /** Begin a round: what was used in an earlier one may be dropped for what is used in this one. */
  turn() {
    this.#turn += 1;
  }

  get(source, name) {
    const own = this.#sources.get(source);
    if (!own?.values.has(name)) return undefined;
    this.#used(source, own);
    return own.values.get(name);
  }

  /**
   * Keep a value, unless there is no room beside those of this round: a round that needs more than fits would drop
   * each just before it is due again.
   */
  put(source, name, value, bytes) {
    const known = this.#sources.get(source);
    const size = Math.max(bytes, LEAST) + (known ? 0 : source.byteLength ?? 0);
    if (known) known.turn = this.#turn;
    for (const [oldest, { turn }] of this.#sources) {
      if (this.#bytes + size <= this.most) break;
      if (turn !== this.#turn) this.#drop(oldest);
    }
    if (this.#bytes + size > this.most) return;
    const own = known ?? { values: new Map(), bytes: 0 };
    own.values.set(name, value);
    own.bytes += size;
    this.#bytes += size;
    this.#used(source, own);
  }

  clear() {
    this.#sources.clear();
    this.#bytes = 0;
  }

  #used(source, own) {
    own.turn = this.#turn;
    this.#sources.delete(source);
    this.#sources.set(source, own);
  }

  #drop(source) {
    this.#bytes -= this.#sources.get(source).bytes;
    this.#sources.delete(source);
  }
}
