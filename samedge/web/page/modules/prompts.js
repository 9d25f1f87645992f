// Prompts to the decoder's tensors; the counterpart of samedge/pixels/prompts.py.
//
// A prompt is {points: [[x, y], ...], labels: [1 or 0, ...], box: [x0, y0, x1, y1] or null,
// mask: Float32Array of low-res logits or null}, in pixels of the photo.

const BOX_TOP_LEFT = 2;
const BOX_BOTTOM_RIGHT = 3;
const PADDING = -1;
const IGNORED = -2;

/** A prompt that does not fit the photo or the model. */
export class PromptError extends Error {
  constructor(message) {
    super(message);
    this.name = "PromptError";
  }
}

/** Whether one click is all there is, so that three masks compete. */
export function isAmbiguous({ points, box, mask }) {
  return points.length === 1 && !box && !mask;
}

/** Most clicks that a model takes beside a box or without one. */
export function mostPoints(buckets, { hasBox }) {
  if (!buckets.length) return Infinity;
  return Math.max(...buckets.map(([, length]) => length)) - (hasBox ? 2 : 1);
}

/**
 * The decoder's inputs but for what the encoder gives, as {name: {data, dims}}.
 *
 * @throws {PromptError} a point or box outside the photo, too many points, or a foreign kind.
 */
export function decoderFeeds(prompt, view, { kinds, buckets }) {
  checkKinds(prompt, kinds);
  const { coords, labels } = tokens(prompt, view);
  const [batch, length] = fitting(buckets, labels.length);
  const side = view.lowResSide;
  const pointCoords = new Float32Array(batch * length * 2);
  const pointLabels = new Float32Array(batch * length).fill(IGNORED);
  coords.forEach((point, i) => pointCoords.set(view.inputPoint(point), i * 2));
  pointLabels.fill(labels.every((label) => label === IGNORED) ? IGNORED : PADDING, 0, length);
  pointLabels.set(labels);
  const maskInput = new Float32Array(batch * side * side);
  const hasMask = new Float32Array(batch);
  if (prompt.mask) {
    if (prompt.mask.length !== side * side) {
      throw new PromptError(`The mask prompt has ${prompt.mask.length} logits, expected ${side * side}.`);
    }
    maskInput.set(prompt.mask);
    hasMask[0] = 1;
  }
  return {
    point_coords: { data: pointCoords, dims: [batch, length, 2] },
    point_labels: { data: pointLabels, dims: [batch, length] },
    mask_input: { data: maskInput, dims: [batch, 1, side, side] },
    has_mask_input: { data: hasMask, dims: [batch] },
  };
}

function checkKinds({ points, box, mask }, kinds) {
  const given = [points.length > 0 && "point", box && "box", mask && "mask"].filter(Boolean);
  if (!given.length) throw new PromptError("The prompt is empty: give at least a point, a box or a mask.");
  const foreign = given.find((kind) => !kinds.includes(kind));
  if (foreign) throw new PromptError(`This model understands no ${foreign}, only ${kinds.join(", ")}.`);
}

function tokens({ points, labels, box }, view) {
  const [height, width] = view.size;
  for (const [x, y] of points) {
    if (!(x >= 0 && y >= 0 && x <= width && y <= height)) {
      throw new PromptError(`The point ${x}, ${y} is outside the photo of ${width} x ${height} pixels.`);
    }
  }
  if (!box) {
    return { coords: [...points, [0, 0]], labels: [...labels, points.length ? PADDING : IGNORED] };
  }
  const [x0, y0, x1, y1] = clippedBox(box, view.size);
  return {
    coords: [...points, [x0, y0], [x1, y1]],
    labels: [...labels, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT],
  };
}

/** The part of a box inside a photo of [height, width]. */
export function clippedBox([x0, y0, x1, y1], [height, width]) {
  const box = [Math.max(x0, 0), Math.max(y0, 0), Math.min(x1, width), Math.min(y1, height)];
  if (box[0] >= box[2] || box[1] >= box[3]) throw new PromptError("The box is wholly outside the photo.");
  return box;
}

function fitting(buckets, length) {
  if (!buckets.length) return [1, length];
  const found = buckets.find(([, most]) => most >= length);
  if (!found) {
    const most = Math.max(...buckets.map((bucket) => bucket[1])) - 1;
    throw new PromptError(`This model takes at most ${most} clicks on an object, a box counts as one: undo some, or start a new object.`);
  }
  return found;
}
