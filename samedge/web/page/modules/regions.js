// Regions of a photo as the region encoder takes them: square crops with the outside dimmed; the
// counterpart of samedge/predict/words/crops.py, but that large photos are looked at reduced.

import { resizeStrips } from "./resample.js";

const GREY = 128;
export const MOST_SIDE = 1536; // px; of the photo that regions are cut out of

/** A photo at a size that regions are cut out of. */
export class CropSource {
  /** @param {ImageBitmap} picture - closed here. */
  constructor(picture) {
    const shrink = Math.min(1, MOST_SIDE / Math.max(picture.width, picture.height));
    this.size = [picture.height, picture.width].map((length) => Math.max(Math.round(length * shrink), 1));
    const [height, width] = this.size;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true, alpha: false });
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, 0, 0, width, height);
    picture.close();
    this.data = context.getImageData(0, 0, width, height).data;
  }

  /**
   * One region.
   *
   * @param {{mask: Uint8Array, box: number[]}} region - at this size; box is half open.
   * @param {{enlarge: number, outside: number}} rules - of the manifest.
   * @param {number} side - of the crop, pixels.
   * @returns {Uint8Array} (side, side, 3) RGB.
   */
  crop({ mask, box }, { enlarge, outside }, side) {
    const [height, width] = this.size;
    const [x0, y0, length] = squareAround(box, enlarge);
    const [left, top] = [Math.max(x0, 0), Math.max(y0, 0)];
    const [right, bottom] = [Math.min(x0 + length, width), Math.min(y0 + length, height)];
    const scale = side / length;
    const [toX, toY] = [rounded((left - x0) * scale), rounded((top - y0) * scale)];
    const wide = Math.max(rounded((right - x0) * scale) - toX, 1);
    const high = Math.max(rounded((bottom - y0) * scale) - toY, 1);
    const from = [bottom - top, right - left];
    const pixels = resizeStrips(from, [high, wide], this.#photoRows(left, top, from[1]));
    const inside = resizeStrips(from, [high, wide], this.#maskRows(mask, left, top, from[1]));
    const out = new Uint8Array(side * side * 3).fill(GREY);
    for (let y = 0; y < Math.min(high, side - toY); y++) {
      for (let x = 0; x < Math.min(wide, side - toX); x++) {
        const at = (y * wide + x) * 3;
        const to = ((toY + y) * side + toX + x) * 3;
        const weight = outside + ((1 - outside) * inside[at]) / 255;
        for (let c = 0; c < 3; c++) out[to + c] = rounded(GREY + (pixels[at + c] - GREY) * weight);
      }
    }
    return out;
  }

  #photoRows(left, top, wide) {
    const width = this.size[1];
    return (first, rows) => {
      const out = new Uint8ClampedArray(rows * wide * 4);
      for (let row = 0; row < rows; row++) {
        const start = ((top + first + row) * width + left) * 4;
        out.set(this.data.subarray(start, start + wide * 4), row * wide * 4);
      }
      return out;
    };
  }

  #maskRows(mask, left, top, wide) {
    const width = this.size[1];
    return (first, rows) => {
      const out = new Uint8ClampedArray(rows * wide * 4);
      for (let row = 0, to = 0; row < rows; row++) {
        const start = (top + first + row) * width + left;
        for (let x = 0; x < wide; x++, to += 4) out[to] = mask[start + x] * 255;
      }
      return out;
    };
  }
}

/** Left, top and side of the square with a box's middle and its longer side, enlarged. */
function squareAround([x0, y0, x1, y1], enlarge) {
  const half = (Math.max(x1 - x0, y1 - y0) * enlarge) / 2;
  return [rounded((x0 + x1) / 2 - half), rounded((y0 + y1) / 2 - half), Math.max(rounded(2 * half), 1)];
}

/** To the nearest whole number, halves to the even one, as Python rounds. */
function rounded(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
}
