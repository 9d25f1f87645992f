// What looks through the whole photo: everything mode, and the things that words name. One of them
// at a time, with its progress and a way to stop it.

const MOST_WORDS = 4; // in a hint

/** Emits "change" when one begins or ends. */
export class Search extends EventTarget {
  #stopping = null;
  #known = null; // words: {names, readsPhrases}
  #isReady = false;

  /**
   * @param {(id: string) => HTMLElement} byId
   * @param {Status} status
   * @param {() => Segmenter | undefined} segmenter
   */
  constructor(byId, status, segmenter) {
    super();
    this.byId = byId;
    this.status = status;
    this.segmenter = segmenter;
    byId("everything").addEventListener("click", () => this.everything());
    byId("words-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.words(byId("words").value);
    });
    byId("words").addEventListener("input", () => this.#suggest());
    for (const id of ["everything-stop", "words-stop"]) byId(id).addEventListener("click", () => this.stop());
  }

  /** Offer to find things by these words; null where the model understands none. */
  offer(known) {
    this.#known = known;
    for (const id of ["words-card", "words-key", "words-key-does"]) this.byId(id).hidden = !known;
    if (!known) return;
    const shown = known.names.slice(0, MOST_WORDS).join(", ");
    this.byId("words-hint").textContent = `Knows ${known.names.length} words, such as ${shown}; several with commas.`;
    this.#suggest();
  }

  /** Whether there is a photo to look through. */
  show({ isReady }) {
    this.#isReady = isReady;
    const isBusy = Boolean(this.#stopping);
    this.byId("everything").disabled = !isReady || isBusy;
    this.byId("words-find").disabled = !isReady || isBusy;
  }

  /** Forget what was answered about the photo before. */
  leave() {
    this.stop();
    this.#answer("");
  }

  stop() {
    this.#stopping?.abort();
  }

  async everything() {
    const { byId, status } = this;
    await this.#run("everything", async (listen) => {
      const pointsPerSide = Number(byId("detail").value);
      const count = await this.segmenter().everything({ pointsPerSide, ...listen });
      if (count === null) return; // another photo is shown
      status.announce(count === 1 ? "One thing was found." : `${count} things were found.`);
      if (!count && !listen.signal.aborted) throw new Error("Nothing was found that the model is sure of: try a finer detail, or click.");
    }, (error) => status.complain(error));
  }

  /** Find the things that a text names. */
  async words(text) {
    if (!this.#isReady || this.#stopping) return;
    const refused = (error) => this.#answer(String(error?.message ?? error), { isRefused: true });
    this.#answer("");
    if (!text.trim()) {
      refused(new Error("Write the name of a thing first."));
      return;
    }
    await this.#run("words", async (listen) => {
      const answers = await this.segmenter().find({ text, ...listen });
      if (answers) this.#answer(listen.signal.aborted && !answers.length ? "Stopped." : answers.map(said).join(" "));
    }, refused);
  }

  async #run(name, work, refused) {
    const { byId } = this;
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    delete document.documentElement.dataset[name];
    byId(`${name}-progress`).hidden = false;
    byId(`${name}-bar`).value = 0;
    byId(`${name}-count`).textContent = "";
    this.dispatchEvent(new Event("change"));
    const progress = (done, total) => {
      byId(`${name}-bar`).value = done / total;
      byId(`${name}-count`).textContent = `${Math.round((done / total) * 100)} %`;
    };
    try {
      await work({ signal, progress });
    } catch (error) {
      refused(error);
    } finally {
      this.#stopping = null;
      byId(`${name}-progress`).hidden = true;
      document.documentElement.dataset[name] = "done";
      this.dispatchEvent(new Event("change"));
    }
  }

  #answer(text, { isRefused = false } = {}) {
    const { byId } = this;
    byId("words-answer").textContent = text;
    byId("words-answer").toggleAttribute("data-refused", isRefused);
    byId("words").setAttribute("aria-invalid", String(isRefused));
  }

  /** Known words as suggestions, behind those that are written already. */
  #suggest() {
    const written = this.byId("words").value;
    const before = written.slice(0, written.lastIndexOf(",") + 1);
    const used = new Set(before.split(",").map((word) => word.trim().toLowerCase()));
    const names = (this.#known?.names ?? []).filter((name) => !used.has(name));
    this.byId("words-known").replaceChildren(...names.map((name) => new Option("", `${before}${before && " "}${name}`)));
  }
}

/** What became of a word, as a sentence. */
function said({ word, found, best_score: best }) {
  const name = word.charAt(0).toUpperCase() + word.slice(1);
  if (found) return `${name}: ${found} found.`;
  if (best === null) return `${name}: none, the photo shows no clear things.`;
  return `${name}: none, the best candidate is ${percent(best)} sure.`;
}

function percent(score) {
  return score < 0.01 ? "under 1 %" : `${Math.round(score * 100)} %`;
}
