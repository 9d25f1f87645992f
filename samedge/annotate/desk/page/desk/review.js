// The masks of one photo and what was decided about them: a MaskDocument whose objects have
// {decision, origin, category} beside what the page's other parts know.

import { MaskDocument, PALETTE } from "../modules/document.js";
import { ExactMask } from "./exact.js";

/** The masks of one photo. Emits "change". */
export class Review extends MaskDocument {
  category = null; // of what is drawn and accepted next

  /** Begin with a photo's masks as the desk has them. */
  begin(masks, view) {
    this.reset(masks.map((mask) => objectOf(mask, view)));
  }

  draft() {
    const object = super.draft();
    return { ...object, decision: "accepted", origin: "drawn", category: this.category };
  }

  /** As of a MaskDocument; an object whose mask is another one was mended, so it counts. */
  put(object, options) {
    const before = this.objects.find((one) => one.id === object.id);
    if (!before || before.result === object.result) return super.put(object, options);
    const origin = before.origin === "drawn" ? "drawn" : "mended";
    // What was said of it while the model computed is in `before`, not in `object`.
    return super.put({ ...object, origin, decision: "accepted", category: before.category ?? this.category }, options);
  }

  /** Decide about an object, and go to the next that is undecided. */
  decide(id, decision, { category = undefined } = {}) {
    const wanted = (one) => ({ ...one, decision, category: category === undefined ? one.category ?? this.category : category });
    const objects = this.objects.map((one) => (one.id === id ? wanted(one) : one));
    const before = this.objects.find((one) => one.id === id);
    const next = before?.decision === "proposed" ? nextUndecided(objects, id) : id;
    this.replaceAll(objects, next);
  }

  /** Decide about all that are undecided: one step to undo. */
  decideRest(decision) {
    if (!this.undecided.length) return;
    this.replaceAll(this.objects.map((one) => (one.decision === "proposed"
      ? { ...one, decision, category: one.category ?? this.category } : one)), null);
  }

  /** Say what an object shows. */
  name(id, category) {
    const object = this.objects.find((one) => one.id === id);
    if (object && object.category !== category) this.put({ ...object, category });
  }

  /** Choose the object that comes after the active one, or before it. */
  step(by) {
    const shown = this.objects;
    if (!shown.length) return;
    const at = shown.findIndex((one) => one.id === this.active?.id);
    const next = at < 0 ? (by > 0 ? 0 : shown.length - 1) : (at + by + shown.length) % shown.length;
    this.select(shown[next].id);
  }

  get undecided() {
    return this.objects.filter((one) => one.decision === "proposed");
  }

  get accepted() {
    return this.objects.filter((one) => one.decision === "accepted");
  }
}

/** The next undecided object behind one, from the start again; null where all are decided. */
function nextUndecided(objects, id) {
  const at = objects.findIndex((one) => one.id === id);
  const turned = [...objects.slice(at + 1), ...objects.slice(0, at + 1)];
  return turned.find((one) => one.decision === "proposed")?.id ?? null;
}

function objectOf({ id, decision, origin, category, rle, predicted_iou }, view) {
  const exact = new ExactMask(rle);
  let logits = null;
  const result = {
    exact, iou: Float32Array.of(predicted_iou ?? 0), tokens: [], token: 0, predicted: predicted_iou,
    get logits() {
      logits ??= exact.logits(view); // only what is mended needs them
      return logits;
    },
  };
  return { id, decision, origin, category, name: `Mask ${id}`, colour: PALETTE[(id - 1) % PALETTE.length], points: [], labels: [], box: null, result };
}
