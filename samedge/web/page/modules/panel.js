// The lists beside the photo: candidates of the active object, and all objects.

import { maskOfResult } from "./masks.js";
import { rgba } from "./painter.js";

const WIDE = 120;
const HIGH = 90;
const FILL = 0.8;

/** An element with attributes, properties and children. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/** The three candidates as small pictures; `choose(token)` when one is chosen. */
export class Candidates {
  #small = null; // the photo at a thumbnail's size: shrinking it takes longer than all the rest

  constructor(list, hint, choose) {
    this.list = list;
    this.hint = hint;
    this.choose = choose;
    list.addEventListener("keydown", (event) => this.#key(event));
  }

  /**
   * @param {object | null} object - the active one.
   * @param {ImageBitmap | null} shown - the photo.
   * @param {object} view - of the photo.
   * @param {number} threshold
   */
  show(object, shown, view, threshold) {
    const result = object?.result;
    const tokens = result?.tokens ?? [];
    const hadFocus = this.list.contains(document.activeElement);
    this.hint.hidden = tokens.length > 0;
    if (this.result === result && this.colour === object?.colour) return;
    [this.result, this.colour] = [result, object?.colour];
    const offered = tokens.length > 3 ? tokens.filter((token) => token !== leastLikely(result)) : tokens;
    if (shown && this.#small?.shown !== shown) this.#small = { shown, ...smallPhoto(shown, view) };
    this.list.replaceChildren(...offered.map((token, index) => this.#button(object, token, index, { small: this.#small, view, threshold })));
    if (hadFocus) this.list.querySelector("[aria-checked=true]")?.focus();
  }

  /** Choose by place, 0 to 2. */
  chooseAt(index) {
    this.list.children[index]?.click();
  }

  #button({ result, colour }, token, index, { small, view, threshold }) {
    const isChosen = token === result.token;
    const percent = Math.round(Math.min(Math.max(result.iou[token], 0), 1) * 100);
    const canvas = element("canvas", { width: WIDE, height: HIGH, "aria-hidden": "true" });
    drawThumbnail(canvas, { result, token, colour, small, view, threshold });
    return element("button", {
      type: "button", class: "candidate", role: "radio", "aria-checked": String(isChosen),
      tabindex: isChosen ? "0" : "-1", "aria-label": `Candidate ${index + 1}, ${percent} percent sure`,
      title: `Candidate ${index + 1} (key ${index + 1})`, onclick: () => this.choose(token),
    }, canvas, element("span", {}, `${index + 1} · ${percent} %`));
  }

  #key(event) {
    const steps = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    const buttons = [...this.list.children];
    const at = buttons.indexOf(document.activeElement);
    if (!steps[event.key] || at < 0) return;
    event.preventDefault();
    buttons[(at + steps[event.key] + buttons.length) % buttons.length].click();
  }
}

/** Of four masks the one to leave out of three: never the chosen one. */
function leastLikely({ iou, tokens, token }) {
  return tokens.filter((one) => one !== token).reduce((a, b) => (iou[b] < iou[a] ? b : a));
}

/** A photo in the middle of a thumbnail: {canvas, wide, high, left, top}. */
function smallPhoto(shown, { size: [height, width] }) {
  const scale = Math.min(WIDE / width, HIGH / height);
  const [wide, high] = [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  const canvas = new OffscreenCanvas(wide, high);
  canvas.getContext("2d").drawImage(shown, 0, 0, wide, high);
  return { canvas, wide, high, left: (WIDE - wide) >> 1, top: (HIGH - high) >> 1 };
}

function drawThumbnail(canvas, { result, token, colour, small, view, threshold }) {
  const context = canvas.getContext("2d");
  const { wide, high, left, top } = small;
  const found = maskOfResult(result, view, { threshold, size: [high, wide], token });
  context.globalAlpha = 0.55;
  context.drawImage(small.canvas, left, top);
  context.globalAlpha = 1;
  const mask = new OffscreenCanvas(wide, high);
  const image = new ImageData(wide, high);
  const pixels = new Uint32Array(image.data.buffer);
  const fill = rgba(colour, FILL);
  for (let i = 0; i < found.mask.length; i++) if (found.mask[i]) pixels[i] = fill;
  mask.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(mask, left, top);
}

/** The list of objects; calls `select(id)`, `rename(id, name)`, `remove(id)`. */
export class ObjectList {
  #rows = new Map();
  #active = null; // whose row was brought into sight

  constructor(list, hint, actions) {
    this.list = list;
    this.hint = hint;
    this.actions = actions;
  }

  /**
   * @param {object[]} objects
   * @param {object | null} active
   * @param {(object: object) => number} shareOf - of the photo, 0 to 1.
   */
  show(objects, active, shareOf) {
    this.hint.hidden = objects.length > 0;
    const known = new Set(objects.map((one) => one.id));
    for (const [id, row] of this.#rows) {
      if (!known.has(id)) {
        row.remove();
        this.#rows.delete(id);
      }
    }
    objects.forEach((object, index) => {
      const row = this.#rows.get(object.id) ?? this.#row(object);
      this.#rows.set(object.id, row);
      if (this.list.children[index] !== row) this.list.insertBefore(row, this.list.children[index] ?? null);
      row.toggleAttribute("data-active", object.id === active?.id);
      row.querySelector(".swatch").setAttribute("aria-pressed", String(object.id === active?.id));
      const field = row.querySelector("input");
      if (document.activeElement !== field) field.value = object.name;
      row.querySelector(".share").textContent = percentText(shareOf(object));
      row.querySelector(".closer").textContent = object.result?.focus ? "looked closer" : "";
      row.querySelector(".sure").textContent = typeof object.score === "number" ? `${percentText(object.score)} sure` : "";
    });
    const id = active?.id ?? null;
    if (id !== this.#active) this.#rows.get(id)?.scrollIntoView({ block: "nearest" }); // it lays the page out
    this.#active = id;
  }

  #row({ id, name, colour }) {
    const { select, rename, remove } = this.actions;
    const swatch = element("button", { type: "button", class: "swatch", "aria-label": `Go on with ${name}`, title: "Go on with this object", onclick: () => select(id) });
    swatch.style.background = colour;
    const field = element("input", {
      type: "text", "aria-label": `Name of ${name}`, maxlength: "80", autocomplete: "off",
      onfocus: () => select(id), onchange: ({ target }) => rename(id, target.value.trim() || name),
    });
    const away = element("button", { type: "button", class: "button icon", "aria-label": `Delete ${name}`, title: "Delete", onclick: () => remove(id) }, icon("close"));
    return element("li", { class: "object" }, swatch, field, 
      element("span", { class: "figures" }, element("span", { class: "share", title: "Share of the photo" }), element("span", { class: "sure" }), element("span", { class: "closer", title: "Decided on a part of the photo that was encoded again, larger" })), away);
  }
}

/** A share as percent that is not zero when there is something. */
export function percentText(share) {
  const percent = share * 100;
  if (percent === 0) return "empty";
  return percent < 1 ? "< 1 %" : `${Math.round(percent)} %`;
}
