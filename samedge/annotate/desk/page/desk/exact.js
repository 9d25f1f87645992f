// A mask of the photo's own size as COCO's run lengths: shown, counted and sent back as it is.

const LOW_RES_STRIDE = 4;
const SURE = 10; // logit of a low-res pixel that the mask covers wholly, as in Python

/** A mask that was made elsewhere. */
export class ExactMask {
  #runs = null;

  /** @param {{size: number[], counts: string}} rle */
  constructor(rle) {
    this.rle = rle;
  }

  /**
   * The mask in a picture of [height, width]; exact at the photo's own size.
   *
   * @returns {{mask: Uint8Array, height: number, width: number, box: number[] | null, area: number}}
   */
  found([height, width]) {
    const [high, wide] = this.rle.size;
    const mask = new Uint8Array(height * width);
    const runs = this.#starts();
    let [x0, y0, x1, y1, area] = [width, height, 0, 0, 0];
    let run = 0;
    for (let x = 0; x < width; x++) {
      const top = Math.min(Math.floor(((x + 0.5) * wide) / width), wide - 1) * high;
      while (run < runs.length && runs[run + 1] <= top) run += 2;
      for (let at = run; at < runs.length && runs[at] < top + high; at += 2) {
        const first = rowOf(Math.max(runs[at] - top, 0), height / high);
        const end = Math.min(rowOf(Math.min(runs[at + 1] - top, high), height / high), height);
        for (let y = first; y < end; y++) mask[y * width + x] = 1;
        if (first >= end) continue;
        area += end - first;
        [x0, y0, x1, y1] = [Math.min(x0, x), Math.min(y0, first), x + 1, Math.max(y1, end)];
      }
    }
    return { mask, height, width, area, box: area ? [x0, y0, x1, y1] : null };
  }

  /** Low-res logits that a model takes as the mask to start from. */
  logits(view) {
    const [high, wide] = view.inputSize;
    const { mask } = this.found([high, wide]);
    const side = view.lowResSide;
    const share = new Float32Array(side * side);
    for (let y = 0; y < high; y++) {
      const row = Math.floor(y / LOW_RES_STRIDE) * side;
      for (let x = 0; x < wide; x++) share[row + Math.floor(x / LOW_RES_STRIDE)] += mask[y * wide + x];
    }
    return share.map((count) => SURE * ((2 * count) / LOW_RES_STRIDE ** 2 - 1));
  }

  /** Starts and ends of the mask's runs, column by column. */
  #starts() {
    if (this.#runs) return this.#runs;
    const found = [];
    let [at, isInside] = [0, false];
    for (const length of lengths(this.rle.counts)) {
      if (isInside && length) found.push(at, at + length);
      at += length;
      isInside = !isInside;
    }
    this.#runs = found;
    return found;
  }
}

/** The first row of a picture whose middle lies at or below a row of the mask. */
function rowOf(row, scale) {
  return Math.max(Math.ceil(row * scale - 0.5), 0);
}

/** The numbers of COCO's compressed text. */
function lengths(text) {
  const found = [];
  for (let at = 0; at < text.length;) {
    let [value, shift, bits] = [0, 0, 0];
    do {
      bits = text.charCodeAt(at++) - 48;
      value |= (bits & 0x1f) << shift;
      shift += 5;
    } while (bits & 0x20);
    if (bits & 0x10) value |= -1 << shift;
    found.push(found.length > 2 ? value + found[found.length - 2] : value);
  }
  return found;
}
