// What the page talks to: an Engine that encodes photos and decodes prompts, here or on a server.
//
//   open(manifest, onProgress)      -> {name, label, threads, notes, checked}; what really computes;
//                                      checked, where there is one, is a promise that is rejected
//                                      where its answers cannot be trusted: encode waits for it
//   encode({blob, bitmap, signal})  -> {id, size: [height, width], timing: {preprocess, encode}} (ms);
//                                      the bitmap, where there is one, is the engine's from then on;
//                                      a signal says that nobody waits any more
//   encodePart(handle, part)        -> a handle of a part of the photo, {region, isMirrored}, encoded
//                                      at the full input size; missing where an engine has none. The
//                                      region is x0, y0, x1, y1 of the photo; a mirrored part is asked
//                                      in coordinates of the photo with left and right exchanged
//   decode(handle, prompt)          -> {logits, iou, timing: {decode}}: four tokens of (m, m) float32
//                                      logits, one after the other, and the predicted IoU of each
//   everything(handle, settings)    -> [{logits, iou, stability, point}]; settings are
//                                      {pointsPerSide, progress(done, total), signal}
//   words()                         -> {names, readsPhrases}: words that may be asked for; null where the
//                                      model understands none here
//   find(handle, settings)          -> {found, words}: found are entries as of everything, each with its
//                                      word and score; words have {asked, word, found, best_score};
//                                      settings are {text, progress(done, total), signal}
//   release(handle)                 forgets an embedding
//   close()
//
// A prompt is {points, labels, box, mask} in pixels of the photo; see prompts.js. Errors are Errors
// whose message is fit for people. `onLost` is called with a message when the engine had to start
// again by itself, and `onReopened` with what `open` gives when it has.

const KINDS = { local: "./engine-local.js", server: "./engine-server.js" };

/**
 * The engine of a kind, as config.json beside index.html names it.
 *
 * @param {string} kind
 * @param {object} options - passed on: {onLost, onReopened, device, threads}.
 */
export async function createEngine(kind, options) {
  const path = KINDS[kind];
  if (!path) throw new Error(`config.json names the engine "${kind}", known are ${Object.keys(KINDS).join(", ")}.`);
  const module = await import(path);
  return module.create(options);
}
