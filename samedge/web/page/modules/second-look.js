// A second look: what is small in the photo is encoded again, larger, and decided there. The
// counterpart of samedge/predict/focus.py, focus "auto", for one prompt at a time: a box gets two
// looks, the second one mirrored, and the mean of their answers counts, each asked about again with
// its own logits, beside a share of the whole photo's answer; a click is decided by the surer of the whole
// photo and the part around its mask.

import { resultOf } from "./document.js";
import { stabilityOf } from "./everything.js";
import { aroundAll, mediumPart, mirroredRegion, partAround, pays, SETTINGS, widerPart } from "./focus-plan.js";
import { maskFromLogits } from "./masks.js";
import { clippedBox, isAmbiguous } from "./prompts.js";
import { regridded } from "./regridding.js";

const FIRMER = 2; // what logits are multiplied by where they are asked about again, as in Python
const FOREGROUND = 1;
const KEPT = 6; // parts of a photo, some megabytes each

/** Nobody waits for a look any more. */
class LeftError extends Error {}

/** Closer looks at one photo. */
export class SecondLook {
  #parts = new Map(); // promises of handles, by part; the oldest first
  #isOff = () => false;

  /**
   * @param {object} engine - see engine.js; one with `encodePart`.
   * @param {object} manifest - checked.
   * @param {{handle: object, view: View}} photo - that is encoded.
   */
  constructor(engine, manifest, { handle, view }) {
    this.engine = engine;
    this.thresholds = manifest.thresholds;
    this.asksAgain = manifest.prompts.includes("mask");
    this.photo = { handle, view };
    this.encoded = 0; // parts, so far
  }

  /** Give the parts' memory back. */
  release() {
    for (const part of this.#parts.values()) part.then((handle) => this.engine.release(handle), () => {});
    this.#parts.clear();
  }

  /**
   * Decide a prompt that was answered on the whole photo again.
   *
   * @param {{points: number[][], labels: number[], box: number[] | null, mask: Float32Array | null,
   *   region: number[] | null}} prompt - the mask's logits are of the region, or of the whole photo.
   * @param {object} first - its result.
   * @param {() => boolean} isOff - asked between the steps: whether nobody waits for it any more.
   * @returns {Promise<object | null>} the better result, with `focus` {region, logits} where a part
   *   gave it; null where the first one stays, or nobody waits.
   */
  async result(prompt, first, isOff = () => false) {
    this.#isOff = isOff;
    try {
      return await this.#result(prompt, first);
    } catch (error) {
      if (error instanceof LeftError) return null;
      throw error;
    }
  }

  #check() {
    if (this.#isOff()) throw new LeftError();
  }

  async #result(prompt, first) {
    const extent = this.#extent(prompt, first);
    const isPlainBox = Boolean(prompt.box) && !prompt.mask;
    if (extent && pays(extent, this.photo.view.size)) return this.#closer(prompt, first, extent, isPlainBox);
    return isPlainBox && this.asksAgain ? this.#again(prompt, first, extent) : null;
  }

  async #closer(prompt, first, extent, isPlainBox) {
    const { view } = this.photo;
    const region = partAround(extent, view.size, this.#known());
    const near = await this.#part(region, false);
    const asked = within(prompt, near.view, view);
    let answer = await this.#asked(near, asked);
    if (isPlainBox) {
      answer = await this.#withMirrored(answer, prompt, { seen: near.view, region, mirrored: widerPart(region, view.size) });
      answer = this.#withWhole(answer, first, near.view);
    }
    const found = this.#focused(answer, near.view, asked);
    const isUnclear = !prompt.box && !prompt.mask;
    return isUnclear && this.#quality(first, first.logits, view) >= this.#quality(found, answer.logits, near.view) ? null : found;
  }

  /** A box that is not small: asked about again, and where it is not large by a mirrored part as well. */
  async #again(prompt, first, extent) {
    const { view, handle } = this.photo;
    const answer = await this.#refined({ handle, view }, prompt, copied(first));
    const region = mediumPart(extent, view.size);
    if (!region) return { ...first, ...answer };
    const both = await this.#withMirrored(answer, prompt, { seen: view, region, mirrored: region });
    return this.#focused(both, view.part(region), prompt);
  }

  /** The mean of an answer to a box and that of a mirrored look, about `region`. */
  async #withMirrored(first, prompt, { seen, region, mirrored }) {
    const { size } = this.photo.view;
    const other = await this.#part(mirrored, true);
    const target = this.photo.view.part(region);
    const second = await this.#asked(other, within(mirroredPrompt(prompt, size), other.view, other.view));
    const moved = seen === target ? first.logits : regridded(first.logits, seen, target);
    const again = regridded(firstToken(second), other.view, target, { isMirrored: true });
    const answer = { logits: moved.slice(), iou: first.iou.slice() };
    for (let i = 0; i < again.length; i++) answer.logits[i] = (moved[i] + again[i]) / 2;
    answer.iou[0] = (first.iou[0] + second.iou[0]) / 2;
    return answer;
  }

  /** An answer by a part in which the first one, of the whole photo, has a share. */
  #withWhole({ logits, iou }, first, near) {
    const share = SETTINGS.whole;
    const moved = regridded(firstToken(first), this.photo.view, near);
    const answer = { logits: logits.slice(), iou: iou.slice() };
    for (let i = 0; i < moved.length; i++) answer.logits[i] = (1 - share) * logits[i] + share * moved[i];
    answer.iou[0] = (1 - share) * iou[0] + share * first.iou[0];
    return answer;
  }

  /** What a view answers to a prompt about it; a box is asked about twice. */
  async #asked(seen, prompt) {
    const answer = await this.#decoded(seen, prompt);
    return prompt.box && !prompt.mask && this.asksAgain ? this.#refined(seen, prompt, answer) : answer;
  }

  /** The mean of an answer to a box and of the one to the same box with that answer's logits. */
  async #refined(seen, prompt, answer) {
    const own = firstToken(answer);
    const again = await this.#decoded(seen, { ...prompt, mask: own.map((value) => FIRMER * value) });
    for (let i = 0; i < own.length; i++) own[i] = (own[i] + again.logits[i]) / 2;
    answer.iou[0] = again.iou[0];
    return answer;
  }

  async #decoded({ handle }, { points, labels, box, mask }) {
    this.#check();
    const { logits, iou } = await this.engine.decode(handle, { points, labels, box, mask });
    this.#check();
    return { logits, iou };
  }

  /** A part of the photo, encoded now if it was not before: {handle, view}. */
  async #part(region, isMirrored) {
    this.#check();
    const { handle: whole, view } = this.photo;
    const key = `${region}/${isMirrored}`;
    if (!this.#parts.has(key)) this.#keep(key, this.engine.encodePart(whole, { region, isMirrored }));
    const handle = await this.#parts.get(key);
    this.#check();
    return { handle, view: view.part(isMirrored ? mirroredRegion(region, view.size) : region) };
  }

  #keep(key, part) {
    this.encoded += 1;
    part.catch(() => this.#parts.delete(key));
    if (this.#parts.size >= KEPT) {
      const [oldest, gone] = this.#parts.entries().next().value;
      this.#parts.delete(oldest);
      gone.then((handle) => this.engine.release(handle), () => {});
    }
    this.#parts.set(key, part);
  }

  /** Parts that are not mirrored. */
  #known() {
    return [...this.#parts.keys()].map((key) => key.split("/")).filter(([, isMirrored]) => isMirrored === "false")
      .map(([region]) => region.split(",").map(Number));
  }

  /** What a prompt is about: its box, its mask or the first answer, and the clicks on the thing. */
  #extent({ points, labels, box, mask, region }, first) {
    const { view } = this.photo;
    const clicks = points.filter((_, index) => labels[index] === FOREGROUND).map(([x, y]) => [x, y, x, y]);
    if (box) return aroundAll([clippedBox(box, view.size), ...clicks]);
    if (!mask && !clicks.length) return null;
    const seen = mask ? view.part(region) : view;
    const shown = maskFromLogits(mask ?? chosen(first), seen.axes(), this.thresholds.mask).box;
    const [left, top] = seen.bounds;
    return aroundAll([...(shown ? [[shown[0] + left, shown[1] + top, shown[2] + left, shown[3] + top]] : []), ...clicks]);
  }

  /** An answer about a part as a result about the photo. */
  #focused({ logits, iou }, near, prompt) {
    const moved = regridded(logits, near, this.photo.view);
    const result = resultOf({ logits: moved, iou }, { isAmbiguous: isAmbiguous(prompt) });
    return { ...result, focus: { region: near.bounds, logits } };
  }

  /** Predicted IoU tells two looks apart less well than with the root of stability beside it. */
  #quality({ iou, token }, logits, view) {
    const own = logits.subarray(token * view.lowResSide ** 2, (token + 1) * view.lowResSide ** 2);
    return iou[token] * Math.sqrt(stabilityOf(own, view, this.thresholds.stability_offset));
  }
}

/** A prompt as it is asked of a part: clicks beyond it have nothing to say there. */
function within({ points, labels, box, mask, region }, near, whole) {
  const [x0, y0, x1, y1] = near.bounds;
  const isInside = ([x, y]) => x >= x0 && y >= y0 && x <= x1 && y <= y1;
  return {
    points: points.filter(isInside),
    labels: labels.filter((_, index) => isInside(points[index])),
    box: box && clippedBox(box, near.size),
    mask: mask && regridded(mask, whole.part(region), near),
  };
}

function mirroredPrompt({ points, labels, box }, [, width]) {
  const mirrored = box && [width - box[2], box[1], width - box[0], box[3]];
  return { points: points.map(([x, y]) => [width - x, y]), labels, box: mirrored, mask: null };
}

function copied({ logits, iou }) {
  return { logits: logits.slice(), iou: iou.slice() };
}

function firstToken({ logits, iou }) {
  return logits.subarray(0, logits.length / iou.length);
}

function chosen({ logits, iou, token }) {
  const length = logits.length / iou.length;
  return logits.subarray(token * length, (token + 1) * length);
}
