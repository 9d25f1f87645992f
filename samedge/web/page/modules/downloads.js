// Masks as files, at the photo's own size.

import { maskOfResult, rleFromMask, svgPath } from "./masks.js";
import { zipped } from "./zip.js";

const KINDS = {
  png: { tail: "_mask", make: pngs },
  cutout: { tail: "_cutout", make: cutout },
  svg: { tail: "", make: svg },
  coco: { tail: "_masks", make: coco },
};

const NOTHING = "The masks are empty: click on a thing first.";

/**
 * Make a file of masks.
 *
 * @param {"png" | "cutout" | "svg" | "coco"} kind
 * @param {{photo: object, objects: object[], view: object, threshold: number}} content
 * @returns {Promise<{blob: Blob, name: string}>}
 */
export async function makeFile(kind, { photo, objects, view, threshold }) {
  const masked = function* () {
    for (const object of objects) {
      const found = maskOfResult(object.result, view, { threshold });
      if (found.area) yield { object, found };
    }
  };
  const stem = photo.name.replace(/\.[^.]*$/, "") || "photo";
  const { tail, make } = KINDS[kind];
  const { blob, ending } = await make(masked, { photo, stem, view });
  return { blob, name: `${stem}${tail}${ending}` };
}

/** Hand a file to the user. */
export function save({ blob, name }) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** One black and white picture a mask, as samedge writes them; several in a zip. */
async function pngs(masked, { stem }) {
  const pictures = [];
  for (const { found } of masked()) {
    pictures.push(await picture(found.width, found.height, (pixels) => {
      for (let i = 0; i < pixels.length; i++) pixels[i] = found.mask[i] ? 0xffffffff : 0xff000000;
    }));
  }
  if (!pictures.length) throw new Error(NOTHING);
  if (pictures.length === 1) return { blob: pictures[0], ending: ".png" };
  const named = pictures.map((blob, index) => ({ name: `${stem}_mask_${index}.png`, blob }));
  return { blob: await zipped(named), ending: "s.zip" };
}

/** The photo where the masks are, transparent elsewhere, cut to what is left. */
async function cutout(masked, { photo, view }) {
  const [height, width] = view.size;
  const union = new Uint8Array(height * width);
  let [x0, y0, x1, y1] = [width, height, 0, 0];
  for (const { found } of masked()) {
    for (let i = 0; i < union.length; i++) union[i] |= found.mask[i];
    const [a, b, c, d] = found.box;
    [x0, y0, x1, y1] = [Math.min(x0, a), Math.min(y0, b), Math.max(x1, c), Math.max(y1, d)];
  }
  if (x1 <= x0) throw new Error(NOTHING);
  const bitmap = await createImageBitmap(photo.blob, x0, y0, x1 - x0, y1 - y0, { colorSpaceConversion: "none" });
  const wide = x1 - x0;
  const blob = await picture(wide, y1 - y0, (pixels) => {
    for (let i = 0; i < pixels.length; i++) {
      if (!union[(y0 + Math.floor(i / wide)) * width + x0 + (i % wide)]) pixels[i] = 0;
    }
  }, bitmap);
  bitmap.close();
  return { blob, ending: ".png" };
}

async function picture(width, height, change, bitmap = null) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (bitmap) context.drawImage(bitmap, 0, 0);
  const image = bitmap ? context.getImageData(0, 0, width, height) : new ImageData(width, height);
  change(new Uint32Array(image.data.buffer));
  context.putImageData(image, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

async function svg(masked, { photo, view }) {
  const [height, width] = view.size;
  const paths = [];
  for (const { object, found } of masked()) {
    paths.push(`<path fill="${object.colour}" fill-opacity="0.5" fill-rule="evenodd" data-category="${escaped(object.name)}" data-score="${scoreOf(object)}" d="${svgPath(found)}"/>\n`);
  }
  const text = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">\n<title>${escaped(photo.name)}</title>\n${paths.join("")}</svg>\n`;
  return { blob: new Blob([text], { type: "image/svg+xml" }), ending: ".svg" };
}

async function coco(masked, { photo, view }) {
  const [height, width] = view.size;
  const names = [];
  const annotations = [];
  for (const { object, found } of masked()) {
    if (!names.includes(object.name)) names.push(object.name);
    const [x0, y0, x1, y1] = found.box;
    annotations.push({
      id: annotations.length + 1, image_id: 1, category_id: names.indexOf(object.name) + 1, iscrowd: 0,
      segmentation: rleFromMask(found), bbox: [x0, y0, x1 - x0, y1 - y0], area: found.area, score: scoreOf(object),
    });
  }
  const document = {
    info: { description: "Masks by samedge" },
    annotations,
    images: [{ id: 1, file_name: photo.name, height, width, frame: "upright" }],
    categories: names.map((name, index) => ({ id: index + 1, name })),
  };
  return { blob: new Blob([JSON.stringify(document)], { type: "application/json" }), ending: ".json" };
}

function scoreOf({ result }) {
  return Math.round(result.iou[result.token] * 1e6) / 1e6;
}

function escaped(text) {
  return text.replace(/[&<>"]/g, (letter) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[letter]);
}
