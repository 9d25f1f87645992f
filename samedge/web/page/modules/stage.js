// Pointer and keyboard on the photo, as wishes: a click that adds or removes, a box, a hover.

const DRAG_PX = 6;
const LONG_PRESS_MS = 500;
const STEP = 0.01; // of the photo's longer side
const LARGE_STEP = 0.08;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * Emits "click" {point, label, at}, "box" {box, at}, "hover" {point or null}, "press" {point, label}
 * when a button goes down that may become a click, and "pending" when what is being drawn has
 * changed: `pendingBox`, `cursor`. `at` is when the mouse or a key was let go or pressed, by
 * performance.now().
 */
export class Stage extends EventTarget {
  #down = null;
  #corner = null; // of a box by keys

  /**
   * @param {HTMLElement} element
   * @param {Painter} painter
   * @param {() => "add" | "remove" | "box"} tool
   */
  constructor(element, painter, tool) {
    super();
    this.element = element;
    this.painter = painter;
    this.tool = tool;
    this.pendingBox = null;
    this.cursor = null;
    const on = (name, handler) => element.addEventListener(name, handler.bind(this));
    on("pointerdown", this.#pressed);
    on("pointermove", this.#moved);
    on("pointerup", this.#released);
    on("pointercancel", this.#cancelled);
    on("pointerleave", () => this.#emit("hover", { point: null }));
    on("contextmenu", (event) => event.preventDefault());
    on("keydown", this.#key);
    on("blur", () => this.#moveCursor(null));
  }

  /** Forget what is being drawn. */
  cancel() {
    clearTimeout(this.#down?.timer);
    this.#down = null;
    this.#corner = null;
    this.#pending(null);
  }

  #pressed(event) {
    if (!this.painter.view || !this.painter.isOn(event.clientX, event.clientY) || event.button === 1) return;
    this.#moveCursor(null);
    const point = this.painter.place(event.clientX, event.clientY);
    this.element.setPointerCapture(event.pointerId);
    this.#down = { at: [event.clientX, event.clientY], point, button: event.button, id: event.pointerId };
    if (this.tool() !== "box") this.#emit("press", { point, label: this.#labelOf(event.button) });
    if (event.pointerType === "touch") {
      this.#down.timer = setTimeout(() => this.#longPressed(), LONG_PRESS_MS);
    }
  }

  #longPressed() {
    const { point } = this.#down;
    this.#down = null;
    navigator.vibrate?.(15);
    this.#emit("click", { point, label: 0, at: performance.now() });
  }

  #moved(event) {
    const place = this.painter.view && this.painter.place(event.clientX, event.clientY);
    if (!this.#down) {
      if (place && event.pointerType === "mouse") {
        this.#emit("hover", { point: this.painter.isOn(event.clientX, event.clientY) ? place : null });
      }
      return;
    }
    const far = Math.hypot(event.clientX - this.#down.at[0], event.clientY - this.#down.at[1]);
    if (this.#down.button !== 0 || (far < DRAG_PX && !this.pendingBox)) return;
    clearTimeout(this.#down.timer);
    this.#pending(boxOf(this.#down.point, place));
  }

  #released(event) {
    const down = this.#down;
    if (!down || event.pointerId !== down.id) return;
    const box = this.pendingBox;
    this.cancel();
    const at = event.timeStamp;
    if (box) this.#emitBox(box, at);
    else this.#emit("click", { point: down.point, label: this.#labelOf(down.button), at });
  }

  #labelOf(button) {
    return button === 2 || this.tool() === "remove" ? 0 : 1;
  }

  #cancelled() {
    this.cancel();
  }

  #key(event) {
    if (!this.painter.view || event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) this.#step(arrow, event.shiftKey ? LARGE_STEP : STEP);
    else if (event.key === "Enter" || event.key === " ") this.#enter(event.timeStamp);
    else if (event.key === "Delete" || event.key === "Backspace") this.#emit("click", { point: this.#cursorPlace(), label: 0, at: event.timeStamp });
    else if (event.key.toLowerCase() === "b") this.#boxKey(event.timeStamp);
    else if (event.key === "Escape") this.cancel();
    else return;
    event.preventDefault();
  }

  #enter(at) {
    if (this.#corner || this.tool() === "box") this.#boxKey(at);
    else this.#emit("click", { point: this.#cursorPlace(), label: this.tool() === "remove" ? 0 : 1, at });
  }

  #boxKey(at) {
    const place = this.#cursorPlace();
    if (!this.#corner) {
      this.#corner = place;
      this.#pending(boxOf(place, place));
      return;
    }
    const box = boxOf(this.#corner, place);
    this.cancel();
    this.#emitBox(box, at);
  }

  #step([right, down], share) {
    const [height, width] = this.painter.view.size;
    const step = share * Math.max(height, width);
    const [x, y] = this.#cursorPlace();
    const inside = (value, most) => Math.min(Math.max(value, 0), most);
    this.#moveCursor([inside(x + right * step, width), inside(y + down * step, height)]);
    if (this.#corner) this.#pending(boxOf(this.#corner, this.cursor));
  }

  #cursorPlace() {
    const [height, width] = this.painter.view.size;
    if (!this.cursor) this.#moveCursor([width / 2, height / 2]);
    return this.cursor;
  }

  #moveCursor(place) {
    this.cursor = place;
    this.#emit("pending");
  }

  #pending(box) {
    this.pendingBox = box;
    this.#emit("pending");
  }

  #emitBox(box, at) {
    if (box[2] - box[0] >= 1 && box[3] - box[1] >= 1) this.#emit("box", { box, at });
  }

  #emit(name, detail = {}) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function boxOf([ax, ay], [bx, by]) {
  return [Math.min(ax, bx), Math.min(ay, by), Math.max(ax, bx), Math.max(ay, by)];
}
