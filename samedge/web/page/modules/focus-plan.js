// Which part of a photo is encoded again, and how wide: what is decided before anything is encoded.
// The counterpart of samedge/predict/focus_plan.py and samedge/pixels/regions.py for one prompt.
// Boxes are x0, y0, x1, y1 in pixels of the photo, sizes [height, width].

/** Python's FocusSettings; a test holds them against one another. */
export const SETTINGS = Object.freeze({
  below: 0.25, leastZoom: 1.1, wider: 1.2, whole: 0.2, medium: 0.6,
  around: { context: 2.5, tightest: 2.3, widest: 3.0, leastPx: 64 },
  aroundMedium: { context: 1.6, tightest: 1.5, widest: 1.9, leastPx: 64 },
});

const longestSide = ([x0, y0, x1, y1]) => Math.max(x1 - x0, y1 - y0);
const area = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);
const zoom = (region, size) => Math.max(...size) / longestSide(region);

/** Whether what is inside of a box is worth a part of its own. */
export function pays(extent, size, settings = SETTINGS) {
  const { below, leastZoom, around } = settings;
  if (longestSide(extent) / Math.max(...size) >= below) return false;
  const side = Math.max(around.context * longestSide(extent), around.leastPx);
  return zoom(squareRegion(extent, size, side), size) >= leastZoom;
}

/**
 * The part that is looked at around a small thing: the closest one that was encoded and shows it
 * well, or a new one.
 *
 * @param {number[]} extent - around the thing.
 * @param {number[]} size - of the photo.
 * @param {number[][]} kept - parts that were encoded.
 */
export function partAround(extent, size, kept = [], { around } = SETTINGS) {
  const found = kept.filter((region) => shows(region, extent, size, around));
  if (found.length) return found.reduce((a, b) => (area(b) < area(a) ? b : a));
  return regionAround(extent, size, around);
}

/** The wider part of which a box gets a mirrored look beside the one at `region`. */
export function widerPart(region, size, { wider } = SETTINGS) {
  return squareRegion(region, size, wider * longestSide(region));
}

/** The part of which a box that is neither small nor large gets a mirrored look; null for a large one. */
export function mediumPart(extent, size, { medium, aroundMedium } = SETTINGS) {
  return longestSide(extent) < medium * Math.max(...size) ? regionAround(extent, size, aroundMedium) : null;
}

/** Where a part is in the photo with its left and right exchanged. */
export function mirroredRegion([x0, y0, x1, y1], [, width]) {
  return [width - x1, y0, width - x0, y1];
}

/** The smallest box around boxes; null where there are none. */
export function aroundAll(extents) {
  if (!extents.length) return null;
  const [x0, y0] = [0, 1].map((side) => Math.min(...extents.map((one) => one[side])));
  const [x1, y1] = [2, 3].map((side) => Math.max(...extents.map((one) => one[side])));
  return [x0, y0, x1, y1];
}

function needed(extent, size, around) {
  return squareRegion(extent, size, around.tightest * Math.max(longestSide(extent), 1));
}

function regionAround(extent, size, around) {
  const shown = needed(extent, size, around);
  const side = Math.max(longestSide(shown), around.context * Math.max(longestSide(extent), 1), around.leastPx);
  return squareRegion(shown, size, side);
}

/** Whether a part shows a box large enough and with enough around it. */
function shows(region, extent, size, around) {
  const shown = needed(extent, size, around);
  const isInside = shown[0] >= region[0] && shown[1] >= region[1] && shown[2] <= region[2] && shown[3] <= region[3];
  return isInside && longestSide(region) <= Math.max(around.widest * Math.max(longestSide(extent), 1), around.leastPx);
}

/** The square of a side around the middle of a box, pushed into the photo, as narrow as it where it is. */
export function squareRegion([x0, y0, x1, y1], [height, width], side) {
  const [left, right] = span((x0 + x1) / 2, side, width);
  const [top, bottom] = span((y0 + y1) / 2, side, height);
  return [left, top, right, bottom];
}

function span(middle, side, length) {
  const taken = Math.min(Math.max(halfEven(side), 1), length);
  const start = Math.min(Math.max(halfEven(middle - taken / 2), 0), length - taken);
  return [start, start + taken];
}

/** Python's round: halves go to the even number. */
function halfEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}
