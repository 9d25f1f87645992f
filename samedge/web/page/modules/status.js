// What the page says of itself: the engine's state, what it is busy with, errors, and what a
// screen reader hears.

/** A time as it is shown. */
export function milliseconds(value) {
  return value < 10 ? value.toFixed(1) : Math.round(value);
}

/** The lines of the page that tell people what goes on. */
export class Status {
  #doing = new Map(); // what is worked at, by whose work it is; the last is shown

  /** @param {(id: string) => HTMLElement} byId */
  constructor(byId) {
    this.byId = byId;
    byId("alert-close").addEventListener("click", () => (byId("alert").hidden = true));
  }

  /** Say which engine runs, and what is to be known about it. */
  engine({ label, notes }) {
    this.byId("engine").textContent = label;
    this.byId("engine").dataset.state = "ready";
    this.byId("loading").hidden = true;
    for (const text of notes) this.note(text);
  }

  /** Say that nothing can be computed. */
  failed(error) {
    this.byId("engine").textContent = "The model could not be opened";
    this.byId("engine").dataset.state = "failed";
    this.byId("loading").hidden = true;
    this.complain(error);
  }

  /** Add to what is to be known about the engine and the page. */
  note(text) {
    const note = this.byId("note");
    if (!note.textContent.includes(text)) note.textContent = `${note.textContent} ${text}`.trim();
    note.hidden = false;
  }

  complain(error) {
    console.info(error);
    this.byId("alert-text").textContent = String(error?.message ?? error);
    this.byId("alert").hidden = false;
  }

  announce(text) {
    this.byId("announce").textContent = text;
  }

  /** Say what somebody's work is now; null when it is over. */
  busy(work, text) {
    this.#doing.delete(work);
    if (text !== null) this.#doing.set(work, text);
    const shown = [...this.#doing.values()].pop() ?? null;
    this.byId("busy").hidden = shown === null;
    if (shown !== null) this.byId("busy-text").textContent = shown;
    this.byId("work").setAttribute("aria-busy", String(shown !== null));
  }
}
