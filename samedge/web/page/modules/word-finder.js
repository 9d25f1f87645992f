// The things that words name, found in this browser: a bundle's table of words and its region
// encoder, which are loaded when they are asked for.

import { checkWordCanary } from "./canary.js";
import { graphOf } from "./manifest.js";
import { embedded, named } from "./naming.js";
import { WordTable } from "./words.js";

const ROLE = "region_encoder";

/** Words over the opened graphs of a bundle. */
export class WordFinder {
  #table = null; // promises
  #encoder = null;

  /**
   * @param {Graphs} graphs - opened.
   * @param {{load: (path: string) => Promise<ArrayBuffer>, canary: Promise<ArrayBuffer> | null}} files -
   *   load gives a file of the bundle, whose hash it has compared.
   */
  constructor(graphs, files) {
    this.graphs = graphs;
    this.files = files;
    this.rules = graphs.manifest.words ?? null;
  }

  /** The words that are known; null where there are none. */
  async table() {
    if (!this.rules) return null;
    this.#table ??= this.files.load(this.rules.table).then((content) => WordTable.read(content));
    return kept(this.#table, () => (this.#table = null));
  }

  /**
   * Find what words name.
   *
   * @param {object} about - asked, as WordTable.asked gives it; proposals, as everything gives them;
   *   picture and view of the photo.
   * @returns {Promise<{found: object[], words: object[]}>} as in engine.js.
   */
  async find({ asked, proposals, picture, view }) {
    const { rules } = this;
    const [table, encoder] = await Promise.all([this.table(), this.#opened()]);
    const threshold = this.graphs.manifest.thresholds.mask;
    const regions = await embedded(proposals, { picture, view, threshold, rules }, encoder);
    return named(regions, asked, { table, rules, mask: threshold });
  }

  /** The region encoder, trusted: {side, batch, embed}; batch is null where it takes any number. */
  async #opened() {
    this.#encoder ??= this.#open();
    return kept(this.#encoder, () => (this.#encoder = null));
  }

  async #open() {
    const { artifact, inputs } = graphOf(this.graphs.manifest, ROLE);
    await this.graphs.add(ROLE, await this.files.load(artifact));
    if (this.files.canary) await checkWordCanary(await this.files.canary, this.graphs);
    const [batch, side] = inputs[0].shape;
    return {
      side,
      batch: Number.isInteger(batch) ? batch : null,
      embed: (data, count) => this.graphs.embedRegions(data, count),
    };
  }
}

/** A promise whose failure is not remembered: the next call tries again. */
async function kept(promise, forget) {
  try {
    return await promise;
  } catch (error) {
    forget();
    throw error;
  }
}
