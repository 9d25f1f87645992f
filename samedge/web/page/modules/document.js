// What the user has made of a photo: objects with prompts and masks, and the way back. States are
// never changed, only followed by others, so that undo is a step in a list.

// Colours that stay apart for most colour-blind people (Okabe and Ito), as samedge draws them.
export const PALETTE = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#f0e442", "#d55e00", "#0072b2"];
const MOST_STEPS = 200;
const EMPTY = Object.freeze({ objects: Object.freeze([]), active: null });

/** The objects of one photo. Emits "change". */
export class MaskDocument extends EventTarget {
  #states = [EMPTY];
  #at = 0;
  #made = 0;
  #choices = 0;

  get objects() {
    return this.#states[this.#at].objects;
  }

  /** The object that prompts go to; null: the next prompt begins one. */
  get active() {
    return this.objects.find((one) => one.id === this.#states[this.#at].active) ?? null;
  }

  /** How often it was chosen anew where prompts go: by a selection, a way back, or what is gone. */
  get choices() {
    return this.#choices;
  }

  get canUndo() {
    return this.#at > 0;
  }

  get canRedo() {
    return this.#at < this.#states.length - 1;
  }

  /** An object that is not in the document yet. */
  draft() {
    this.#made += 1;
    const colour = PALETTE[(this.#made - 1) % PALETTE.length];
    return { id: this.#made, name: `Object ${this.#made}`, colour, points: [], labels: [], box: null, result: null };
  }

  /** Put an object in, or in the place of the one with its id, and make it the active one if asked to. */
  put(object, { isActive = true } = {}) {
    const isNew = this.objects.every((one) => one.id !== object.id);
    const objects = isNew ? [...this.objects, object]
      : this.objects.map((one) => (one.id === object.id ? object : one));
    this.#step({ objects, active: isActive ? object.id : this.#states[this.#at].active });
  }

  /** Let a better answer take a result's place, wherever it is in the way back: no step to undo. */
  exchange(result, better) {
    const exchanged = (one) => (one.result === result ? { ...one, result: better } : one);
    this.#states = this.#states.map((state) => (state.objects.some((one) => one.result === result)
      ? Object.freeze({ ...state, objects: state.objects.map(exchanged) }) : state));
    this.#changed();
  }

  /** Put many objects in at once: one step to undo. */
  putAll(objects) {
    this.#step({ objects: [...this.objects, ...objects], active: null });
  }

  /** Put these in the place of all: one step to undo. */
  replaceAll(objects, active = null) {
    this.#choices += 1;
    this.#step({ objects, active });
  }

  remove(id) {
    const { active } = this.#states[this.#at];
    this.#choices += 1;
    this.#step({ objects: this.objects.filter((one) => one.id !== id), active: active === id ? null : active });
  }

  clear() {
    this.#choices += 1;
    if (this.objects.length) this.#step(EMPTY);
  }

  /** Choose where prompts go; no step to undo. */
  select(id) {
    this.#states[this.#at] = { objects: this.objects, active: id };
    this.#choices += 1;
    this.#changed();
  }

  rename(id, name) {
    const object = this.objects.find((one) => one.id === id);
    if (object && object.name !== name) this.put({ ...object, name }, { isActive: false });
  }

  undo() {
    if (this.canUndo) this.#at -= 1;
    this.#choices += 1;
    this.#changed();
  }

  redo() {
    if (this.canRedo) this.#at += 1;
    this.#choices += 1;
    this.#changed();
  }

  /** Begin anew, for another photo; `objects` are there from the start. */
  reset(objects = []) {
    this.#states = [objects.length ? Object.freeze({ objects, active: null }) : EMPTY];
    this.#at = 0;
    this.#choices += 1;
    this.#made = Math.max(0, ...objects.map(({ id }) => id));
    this.#changed();
  }

  #step(state) {
    this.#states = [...this.#states.slice(0, this.#at + 1), Object.freeze(state)].slice(-MOST_STEPS);
    this.#at = this.#states.length - 1;
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** What a decoder gave, and which of its masks counts. */
export function resultOf({ logits, iou }, { isAmbiguous }) {
  const tokens = isAmbiguous ? [1, 2, 3] : [0, 1, 2, 3];
  const best = isAmbiguous ? tokens.reduce((a, b) => (iou[b] > iou[a] ? b : a)) : 0;
  return { logits, iou, tokens, token: best };
}

/** (m, m) logits of a result's mask. */
export function chosenLogits({ logits, iou, token }) {
  const area = logits.length / iou.length;
  return logits.subarray(token * area, (token + 1) * area);
}
