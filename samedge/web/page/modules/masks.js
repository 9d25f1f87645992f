// Low-res logits to masks of any size, and masks to boxes, run lengths and outlines.

/**
 * Logits above a threshold, interpolated to the size of the axes.
 *
 * Interpolated values never exceed their neighbours, so only the rectangle around the logits above
 * the threshold is computed.
 *
 * @param {Float32Array} logits - (m, m).
 * @param {{rows: object, columns: object}} axes - of a View.
 * @param {number} threshold
 * @returns {{mask: Uint8Array, height: number, width: number, box: number[] | null, area: number}}
 *   mask holds 0 and 1; box is x0, y0, x1, y1 around it, half open.
 */
export function maskFromLogits(logits, axes, threshold = 0) {
  const { rows, columns } = axes;
  const [height, width] = [rows.length, columns.length];
  const mask = new Uint8Array(height * width);
  const side = Math.round(Math.sqrt(logits.length));
  const touched = touchedAxes(logits, side, threshold);
  const [top, bottom] = reach(rows, touched.rows);
  const [left, right] = reach(columns, touched.columns);
  if (top >= bottom || left >= right) return { mask, height, width, box: null, area: 0 };
  const wide = widened(logits, side, columns, left, right, rows.first[top], lastRow(rows, bottom));
  const found = cut(wide, rows, { top, bottom, left, right, threshold, mask, width });
  return { mask, height, width, ...found };
}

/**
 * The mask of a result, of the photo or of the photo at another size; that of a closer look is cut
 * from the logits of its part.
 *
 * @param {{logits: Float32Array, iou: Float32Array, token: number, focus?: object}} result
 * @param {View} view - of the photo.
 * @param {{threshold: number, size?: number[], token?: number}} more - another of its masks.
 * @returns {object} as of maskFromLogits.
 */
export function maskOfResult(result, view, { threshold, size = view.size, token = result.token }) {
  const logits = result.focus?.logits ?? result.logits;
  const area = logits.length / result.iou.length;
  const own = logits.subarray(token * area, (token + 1) * area);
  if (!result.focus) return maskFromLogits(own, view.axes(size), threshold);
  const near = view.part(result.focus.region);
  const [x0, y0, x1, y1] = near.bounds.map((edge, side) => Math.round((edge * size[1 - (side % 2)]) / view.size[1 - (side % 2)]));
  if (x0 >= x1 || y0 >= y1) return { mask: new Uint8Array(size[0] * size[1]), height: size[0], width: size[1], box: null, area: 0 };
  return pasted(maskFromLogits(own, near.axes([y1 - y0, x1 - x0]), threshold), [x0, y0], size);
}

/** A mask as a part of a larger picture. */
function pasted(found, [left, top], [height, width]) {
  const mask = new Uint8Array(height * width);
  for (let y = 0; y < found.height; y++) {
    mask.set(found.mask.subarray(y * found.width, (y + 1) * found.width), (top + y) * width + left);
  }
  const box = found.box && found.box.map((edge, side) => edge + (side % 2 ? top : left));
  return { mask, height, width, box, area: found.area };
}

function lastRow(rows, bottom) {
  return rows.first[bottom - 1] + rows.taps;
}

function touchedAxes(logits, side, threshold) {
  const rows = new Uint8Array(side);
  const columns = new Uint8Array(side);
  for (let y = 0, i = 0; y < side; y++) {
    for (let x = 0; x < side; x++, i++) {
      if (logits[i] > threshold) rows[y] = columns[x] = 1;
    }
  }
  return { rows, columns };
}

function reach({ length, taps, first, weights }, touched) {
  const hit = (position) => {
    for (let i = 0; i < taps; i++) {
      if (weights[position * taps + i] && touched[first[position] + i]) return true;
    }
    return false;
  };
  let low = 0;
  while (low < length && !hit(low)) low++;
  let high = length;
  while (high > low && !hit(high - 1)) high--;
  return [low, high];
}

/** Logits with their columns interpolated, row by row; other rows stay empty. */
function widened(logits, side, columns, left, right, firstRow, endRow) {
  const width = right - left;
  const wide = new Float32Array(side * width);
  const { taps, first, weights } = columns;
  for (let y = firstRow; y < Math.min(endRow, side); y++) {
    for (let x = 0; x < width; x++) {
      const from = y * side + first[left + x];
      const w = (left + x) * taps;
      let sum = 0;
      for (let i = 0; i < taps; i++) if (weights[w + i]) sum += logits[from + i] * weights[w + i];
      wide[y * width + x] = sum;
    }
  }
  return { values: wide, width };
}

function cut({ values, width: span }, rows, { top, bottom, left, right, threshold, mask, width }) {
  const { taps, first, weights } = rows;
  const line = new Float32Array(span);
  let [x0, y0, x1, y1, area] = [right, bottom, left, top, 0];
  for (let y = top; y < bottom; y++) {
    line.fill(0);
    for (let i = 0; i < taps; i++) {
      const weight = weights[y * taps + i];
      if (!weight) continue;
      const from = (first[y] + i) * span;
      for (let x = 0; x < span; x++) line[x] += values[from + x] * weight;
    }
    let inside = 0;
    for (let x = 0; x < span; x++) {
      if (line[x] <= threshold) continue;
      mask[y * width + left + x] = 1;
      inside++;
      if (left + x < x0) x0 = left + x;
      if (left + x >= x1) x1 = left + x + 1;
    }
    if (inside) {
      area += inside;
      y0 = Math.min(y0, y);
      y1 = y + 1;
    }
  }
  return { area, box: area ? [x0, y0, x1, y1] : null };
}

/**
 * A mask as COCO's compressed run lengths.
 *
 * @param {{mask: Uint8Array, height: number, width: number}} found
 * @returns {{size: number[], counts: string}}
 */
export function rleFromMask({ mask, height, width }) {
  const runs = [];
  let value = 0;
  let run = 0;
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      if (mask[y * width + x] !== value) {
        runs.push(run);
        run = 0;
        value = 1 - value;
      }
      run++;
    }
  }
  runs.push(run);
  return { size: [height, width], counts: textFromRuns(runs) };
}

function textFromRuns(runs) {
  let text = "";
  runs.forEach((run, index) => {
    let value = index > 2 ? run - runs[index - 2] : run;
    let more = true;
    while (more) {
      const bits = value & 0x1f;
      value >>= 5;
      more = value !== (bits & 0x10 ? -1 : 0);
      text += String.fromCharCode(48 + (more ? bits | 0x20 : bits));
    }
  });
  return text;
}

/**
 * The outline along the pixels' edges as an SVG path; holes turn the other way.
 *
 * @param {{mask: Uint8Array, height: number, width: number}} found
 */
export function svgPath(found) {
  return rings(found).map((ring) => `M${ring.map((point) => point.join(" ")).join("L")}Z`).join("");
}

/** Closed rings of corners, each with the mask at its right hand. */
function rings({ mask, height, width }) {
  const inside = (x, y) => x >= 0 && y >= 0 && x < width && y < height && mask[y * width + x] === 1;
  const stride = width + 1;
  const edges = new Map(); // from a corner to the corners that edges lead to
  const add = (x0, y0, x1, y1) => {
    const from = y0 * stride + x0;
    const to = y1 * stride + x1;
    if (edges.has(from)) edges.get(from).push(to);
    else edges.set(from, [to]);
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!mask[y * width + x]) continue;
      if (!inside(x, y - 1)) add(x, y, x + 1, y);
      if (!inside(x + 1, y)) add(x + 1, y, x + 1, y + 1);
      if (!inside(x, y + 1)) add(x + 1, y + 1, x, y + 1);
      if (!inside(x - 1, y)) add(x, y + 1, x, y);
    }
  }
  const found = [];
  for (const start of edges.keys()) while (edges.get(start).length) found.push(ring(edges, start, stride));
  return found;
}

function ring(edges, start, stride) {
  const corners = [];
  let at = start;
  let before = null;
  do {
    const next = turned(edges.get(at), at, before, stride);
    const step = next - at;
    if (step !== before) corners.push([at % stride, Math.floor(at / stride)]);
    before = step;
    at = next;
  } while (at !== start);
  return corners;
}

/** Where two parts of a mask touch at a corner, the edge that turns right keeps them apart. */
function turned(choices, at, before, stride) {
  if (choices.length === 1 || before === null) return choices.pop();
  const right = { 1: stride, [stride]: -1, [-1]: -stride, [-stride]: 1 }[before];
  const index = choices.findIndex((to) => to - at === right);
  return choices.splice(index < 0 ? 0 : index, 1)[0];
}
