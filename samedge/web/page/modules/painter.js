// Draws photo, masks and prompts: three canvases over one another.

import { Kept } from "./kept.js";
import { maskOfResult } from "./masks.js";

const MOST_PAINTED = 2048; // px along the longer side of the photo
const MOST_MASKED = 1280; // the same of the masks
const LEAST_PAINTED = 320;
const BLURRED = 1.25; // times as large on the screen as it was painted
const FILL = 0.42;
const FILL_OTHERS = 0.3;
const FILL_PREVIEW = 0.35;
const MARK_RADIUS = 7;
const KEPT_BYTES = 192 << 20; // of cut masks: thirty that cover a large photo, hundreds of usual ones

/** The layers of a stage element. */
export class Painter {
  #painted = new Kept(KEPT_BYTES); // by result and colour
  #size = [1, 1]; // of the painted masks
  #bitmap = null; // the photo
  #shown = 0; // px along the longer side that the layers are painted for

  constructor(stage) {
    this.stage = stage;
    const layer = (name) => stage.querySelector(`#layer-${name}`);
    this.layers = { photo: layer("photo"), masks: layer("masks"), marks: layer("marks") };
    this.box = { left: 0, top: 0, width: 1, height: 1 }; // of the photo in the stage, CSS px
  }

  /**
   * Show another photo.
   *
   * @param {ImageBitmap} bitmap - open until the next one is shown.
   * @param {object} view - of the photo.
   * @param {number} threshold - of the masks' logits.
   */
  show(bitmap, view, threshold) {
    this.view = view;
    this.threshold = threshold;
    this.#bitmap = bitmap;
    this.stage.style.setProperty("--aspect", String(view.size[1] / view.size[0]));
    this.#shown = 0;
    this.layout();
  }

  /**
   * Fit the layers into the stage.
   *
   * @returns {boolean} whether the masks have to be drawn again.
   */
  layout() {
    if (!this.view) return false;
    const { clientWidth, clientHeight } = this.stage;
    const [height, width] = this.view.size;
    const scale = Math.min(clientWidth / width, clientHeight / height);
    const box = { width: width * scale, height: height * scale };
    this.box = { ...box, left: (clientWidth - box.width) / 2, top: (clientHeight - box.height) / 2 };
    for (const canvas of Object.values(this.layers)) {
      for (const side of ["left", "top", "width", "height"]) canvas.style[side] = `${this.box[side]}px`;
    }
    const { marks } = this.layers;
    marks.width = Math.round(box.width * devicePixelRatio);
    marks.height = Math.round(box.height * devicePixelRatio);
    return this.#fit(Math.max(box.width, box.height) * devicePixelRatio);
  }

  /** Paint photo and masks no larger than the screen shows them: every frame's time goes with their area. */
  #fit(longer) {
    const whole = Math.max(...this.view.size);
    const wanted = Math.min(Math.max(longer, LEAST_PAINTED), MOST_PAINTED, whole);
    if (wanted <= this.#shown * BLURRED) return false;
    this.#shown = wanted;
    const sized = (most) => this.view.size.map((length) => Math.max(1, Math.round((length * Math.min(wanted, most)) / whole)));
    const { photo, masks } = this.layers;
    [photo.height, photo.width] = sized(MOST_PAINTED);
    const context = photo.getContext("2d", { alpha: false });
    context.imageSmoothingQuality = "high";
    context.drawImage(this.#bitmap, 0, 0, photo.width, photo.height);
    this.#size = sized(MOST_MASKED);
    [masks.height, masks.width] = this.#size;
    this.#painted.clear();
    return true;
  }

  /** xy pixels of the photo at a place of the window. */
  place(clientX, clientY) {
    const frame = this.layers.photo.getBoundingClientRect();
    const [height, width] = this.view.size;
    const inside = (value, most) => Math.min(Math.max(value, 0), most);
    return [
      inside(((clientX - frame.left) / frame.width) * width, width),
      inside(((clientY - frame.top) / frame.height) * height, height),
    ];
  }

  /** Whether a place of the window is on the photo. */
  isOn(clientX, clientY) {
    const { left, right, top, bottom } = this.layers.photo.getBoundingClientRect();
    return clientX >= left && clientX <= right && clientY >= top && clientY <= bottom;
  }

  /** Draw the masks of objects, some with a `fill` of their own; `preview` is a result that is only shown. */
  drawMasks(objects, { active = null, preview = null } = {}) {
    const context = this.layers.masks.getContext("2d");
    context.clearRect(0, 0, this.#size[1], this.#size[0]);
    this.#painted.turn();
    for (const object of objects) {
      if (!object.result) continue;
      const isActive = !active || object.id === active.id;
      this.#stamp(context, this.painted(object.result, object.colour), object.fill ?? (isActive ? FILL : FILL_OTHERS));
    }
    if (preview) this.#stamp(context, this.painted(preview, "#ffffff", { isKept: false }), FILL_PREVIEW);
  }

  /** Lay a picture down, its FILL thinned to `opacity`: cutting another one takes far longer. */
  #stamp(context, { canvas, x, y }, opacity) {
    if (!canvas) return;
    context.globalAlpha = opacity / FILL;
    context.drawImage(canvas, x, y);
    context.globalAlpha = 1;
  }

  /**
   * A result's mask as a small canvas with its place, area as a share of the photo, and box. One with
   * `exact` is a mask of the photo's own size, whatever its logits are.
   */
  painted(result, colour, { isKept = true } = {}) {
    const key = `${colour}/${result.token}`;
    const source = result.exact ?? result.focus?.logits ?? result.logits;
    const known = this.#painted.get(source, key);
    if (known) return known;
    const found = result.exact?.found(this.#size) ?? maskOfResult(result, this.view, { threshold: this.threshold, size: this.#size });
    const made = { ...stamped(found, colour), share: found.area / (found.height * found.width), box: found.box };
    if (isKept) this.#painted.put(source, key, made, made.canvas ? 4 * made.canvas.width * made.canvas.height : 0);
    return made;
  }

  /**
   * Draw clicks, boxes and the keyboard's cursor.
   *
   * @param {object | null} object - the active one.
   * @param {{box: number[] | null, cursor: number[] | null}} pending
   */
  drawMarks(object, { box = null, cursor = null } = {}) {
    const canvas = this.layers.marks;
    const context = canvas.getContext("2d");
    const scale = canvas.width / this.view.size[1];
    context.clearRect(0, 0, canvas.width, canvas.height);
    const ratio = devicePixelRatio;
    for (const [corners, dashed] of [[object?.box, false], [box, true]]) {
      if (corners) outlineBox(context, corners.map((value) => value * scale), dashed, ratio);
    }
    object?.points.forEach(([x, y], index) => mark(context, x * scale, y * scale, object.labels[index] === 1, ratio));
    if (cursor) crosshair(context, cursor[0] * scale, cursor[1] * scale, ratio);
  }
}

function stamped({ mask, width, box }, colour) {
  if (!box) return { canvas: null, x: 0, y: 0 };
  const [x0, y0, x1, y1] = box;
  const [wide, high] = [x1 - x0, y1 - y0];
  const image = new ImageData(wide, high);
  const pixels = new Uint32Array(image.data.buffer);
  const [fill, edge] = [rgba(colour, FILL), rgba(colour, 1)];
  const height = mask.length / width;
  for (let y = y0; y < y1; y++) {
    const isEnd = y === 0 || y === height - 1;
    const above = y > 0 ? -width : 0;
    const far = y > 1 ? -2 * width : 0;
    const below = y < height - 1 ? width : 0;
    for (let x = x0, at = y * width + x0, to = (y - y0) * wide; x < x1; x++, at++, to++) {
      if (!mask[at]) continue;
      const isInside = !isEnd && mask[at + above] && mask[at + below] && mask[at + far] && x > 0 && x < width - 1
        && mask[at - 1] && mask[at + 1] && (x < 2 || mask[at - 2]);
      pixels[to] = isInside ? fill : edge;
    }
  }
  const canvas = new OffscreenCanvas(wide, high);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return { canvas, x: x0, y: y0 };
}

/** A colour as ImageData's 32 bits, little endian. */
export function rgba(colour, opacity) {
  const value = parseInt(colour.slice(1), 16);
  const [red, green, blue] = [value >> 16, (value >> 8) & 255, value & 255];
  return ((Math.round(opacity * 255) << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function mark(context, x, y, isForeground, ratio) {
  const radius = MARK_RADIUS * ratio;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = isForeground ? "#0b7a4b" : "#c0362c";
  context.fill();
  context.lineWidth = 2 * ratio;
  context.strokeStyle = "#ffffff";
  context.stroke();
  context.beginPath();
  const arm = radius * 0.5;
  context.moveTo(x - arm, y);
  context.lineTo(x + arm, y);
  if (isForeground) {
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
  }
  context.stroke();
}

function outlineBox(context, [x0, y0, x1, y1], dashed, ratio) {
  for (const [colour, width] of [["rgb(0 0 0 / .55)", 4], ["#ffffff", 2]]) {
    context.setLineDash(dashed ? [7 * ratio, 5 * ratio] : []);
    context.lineWidth = width * ratio;
    context.strokeStyle = colour;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  context.setLineDash([]);
}

function crosshair(context, x, y, ratio) {
  for (const [colour, width] of [["#000000", 5], ["#ffffff", 2.5]]) {
    context.lineWidth = width * ratio;
    context.strokeStyle = colour;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * 5 * ratio, y + dy * 5 * ratio);
      context.lineTo(x + dx * 16 * ratio, y + dy * 16 * ratio);
    }
    context.stroke();
  }
}
