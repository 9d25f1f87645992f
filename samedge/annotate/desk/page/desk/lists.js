// The lists of the desk: masks of the photo, categories, photos of the folder.

import { element, icon, percentText } from "../modules/panel.js";

const MOST_ROWS = 300;
const STATES = { open: "open", done: "done", skipped: "skipped", taken: "somebody works on it", unreadable: "cannot be read" };

/** The masks of a photo; calls `select(id)` and `decide(id, decision)`. */
export class MaskList {
  #rows = new Map();

  constructor(list, actions) {
    this.list = list;
    this.actions = actions;
  }

  show(objects, active, shareOf) {
    const known = new Set(objects.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (known.has(id)) continue;
      row.remove();
      this.#rows.delete(id);
    }
    objects.forEach((object, index) => {
      if (!this.#rows.has(object.id)) this.#rows.set(object.id, this.#row(object));
      const row = this.#rows.get(object.id);
      if (this.list.children[index] !== row) this.list.insertBefore(row, this.list.children[index] ?? null);
      fill(row, object, object.id === active?.id, shareOf(object));
    });
    if (active) this.#rows.get(active.id)?.scrollIntoView({ block: "nearest" });
  }

  clear() {
    this.list.replaceChildren();
    this.#rows.clear();
  }

  #row({ id, colour }) {
    const dot = element("span", { class: "dot", "aria-hidden": "true" });
    dot.style.background = colour;
    const pick = element("button", { type: "button", class: "pick", onclick: () => this.actions.select(id) }, dot, element("span"));
    const yes = element("button", { type: "button", class: "button icon yes", title: "Accept", "aria-label": `Accept mask ${id}`, onclick: () => this.actions.decide(id, "accepted") }, icon("add"));
    const no = element("button", { type: "button", class: "button icon no", title: "Reject", "aria-label": `Reject mask ${id}`, onclick: () => this.actions.decide(id, "rejected") }, icon("close"));
    return element("li", { class: "mask" }, pick, element("span", { class: "share" }), yes, no);
  }
}

function fill(row, { id, decision, origin, category }, isActive, share) {
  const made = { proposal: "", mended: ", mended", drawn: ", drawn" }[origin];
  row.dataset.decision = decision;
  row.toggleAttribute("data-active", isActive);
  const pick = row.querySelector(".pick");
  pick.setAttribute("aria-pressed", String(isActive));
  pick.setAttribute("aria-label", `Mask ${id}, ${category ?? "no category"}${made}, ${decision === "proposed" ? "undecided" : decision}`);
  pick.lastChild.textContent = `${category ?? `Mask ${id}`}${made}`;
  row.querySelector(".share").textContent = percentText(share);
  row.querySelector(".yes").setAttribute("aria-pressed", String(decision === "accepted"));
  row.querySelector(".no").setAttribute("aria-pressed", String(decision === "rejected"));
}

/** The categories with their keys; `choose(name or null)`. */
export class CategoryList {
  constructor(box, choose) {
    this.box = box;
    this.choose = choose;
    this.names = [];
  }

  show(names, chosen) {
    this.names = names;
    const buttons = [null, ...names].map((name, index) => element("button", {
      type: "button", class: "category", "aria-pressed": String(name === chosen), onclick: () => this.choose(name),
    }, ...(index <= 9 ? [element("kbd", { "aria-hidden": "true" }, String(index))] : []), name ?? "no category"));
    const at = [...this.box.children].indexOf(document.activeElement);
    this.box.replaceChildren(...buttons);
    if (at >= 0) this.box.children[Math.min(at, buttons.length - 1)].focus();
  }

  /** The category of a digit; undefined where there is none. */
  ofKey(digit) {
    return digit === 0 ? null : this.names[digit - 1];
  }
}

/** The photos of the folder in a dialog; `open(id)`. */
export class PhotoList {
  #rows = [];

  constructor({ list, hint, filter, state }, open) {
    Object.assign(this, { list, hint, filter, state, open });
    for (const control of [filter, state]) control.addEventListener("input", () => this.#draw());
  }

  show(rows, current) {
    this.#rows = rows;
    this.current = current;
    this.#draw();
  }

  #draw() {
    const part = this.filter.value.trim().toLowerCase();
    const found = this.#rows.filter(({ name, state }) => name.toLowerCase().includes(part) && (!this.state.value || state === this.state.value));
    this.hint.textContent = found.length > MOST_ROWS ? `The first ${MOST_ROWS} of ${found.length}: type a part of the name.` : `${found.length} of ${this.#rows.length} photos`;
    this.list.replaceChildren(...found.slice(0, MOST_ROWS).map((row) => this.#row(row)));
  }

  #row({ id, name, state, masks }) {
    const isMine = id === this.current;
    const words = isMine ? "open here" : state === "done" ? `${masks} ${masks === 1 ? "mask" : "masks"}, done` : STATES[state];
    const label = element("span", { class: "state", "data-state": state }, words);
    return element("li", {}, element("button", {
      type: "button", "aria-current": String(isMine), disabled: !isMine && (state === "taken" || state === "unreadable"), onclick: () => this.open(id),
    }, element("span", { class: "name", title: name }, name), label));
  }
}
