// What the page says beside the photo: how far the folder is, what is saved, what goes on.

const byId = (id) => document.getElementById(id);
export const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

export class Board {
  /** Who works here, with what, and where it goes. */
  begin(desk, engine) {
    this.desk = desk;
    byId("folder").hidden = false;
    byId("folder").textContent = desk.folder;
    byId("folder").title = `${desk.model}; results in ${desk.output}`;
    this.#engine(engine, "ready");
    byId("help-facts").textContent = `${desk.annotator} works with ${desk.model}. Every change is saved at once in ${desk.output}. Time counts from one action to the next, a pause as at most ${desk.idle_s} s; nothing counts while the page is hidden.`;
    if (desk.notes.length) this.complain(desk.notes.join(" "));
    this.figures(desk.figures);
  }

  failed(error) {
    this.#engine("The desk could not be opened", "failed");
    this.busy(null);
    this.complain(error);
  }

  #engine(text, state) {
    byId("engine").textContent = text;
    byId("engine").dataset.state = state;
  }

  figures(figures) {
    this.now = figures;
    const { photos, done, skipped, masks, seconds_per_mask, ranked, order } = figures;
    byId("progress-line").hidden = false;
    byId("done-bar").max = photos;
    byId("done-bar").value = done + skipped;
    byId("done-text").textContent = `${done} of ${photos} done${skipped ? `, ${skipped} skipped` : ""}`;
    byId("seconds").textContent = masks ? `${masks} masks, ${seconds_per_mask.toFixed(1)} s each` : "";
    byId("note").hidden = order !== "rank" || ranked >= photos;
    byId("note").textContent = `The doubtful ones first: ${ranked} of ${photos} looked at`;
  }

  /** Whether the work is on disk: as the saver tells. */
  saved({ state, message }) {
    const words = { saved: "Saved", saving: "Saving", failed: `Not saved, trying again: ${message}`, lost: "Not saved" };
    byId("saved").textContent = words[state];
    byId("saved").dataset.state = state === "lost" ? "failed" : state;
    document.documentElement.dataset.saved = state;
    if (state === "lost") this.complain(`${message} Nothing more is saved of this photo: D goes to the next one.`);
  }

  /** No photo is free. */
  ended() {
    delete document.documentElement.dataset.photo;
    byId("work").dataset.empty = "";
    byId("stage").hidden = true;
    byId("finished").hidden = false;
    const { photos, done, skipped, unreadable, masks } = this.now;
    const left = photos - done - skipped - unreadable;
    byId("finished-title").textContent = left ? "Nothing is free now" : "Every photo is done";
    byId("finished-text").textContent = left
      ? `${plural(left, "photo")} left, and somebody works on ${left === 1 ? "it" : "them"}, or the files are gone.`
      : `${plural(done, "photo")} with ${plural(masks, "mask")}; the file is in ${this.desk.output}.`;
    byId("finished-title").focus();
    document.documentElement.dataset.finished = "true";
  }

  complain(error) {
    console.info(error);
    byId("alert-text").textContent = String(error?.message ?? error);
    byId("alert").hidden = false;
  }

  calm() {
    byId("alert").hidden = true;
  }

  announce(text) {
    byId("announce").textContent = text;
  }

  busy(text) {
    byId("busy").hidden = text === null;
    if (text !== null) byId("busy-text").textContent = text;
    byId("work").setAttribute("aria-busy", String(text !== null));
  }
}
