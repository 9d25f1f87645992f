// Prompts about one photo to objects of a document: what a click does.

import { chosenLogits, resultOf } from "./document.js";
import { isAmbiguous, mostPoints, PromptError } from "./prompts.js";

/**
 * Emits "answered" {start, object} when a mask is in the document, start being when it was asked for, and "failed" {error};
 * "looked" {result, encoded, ms} when an answer was decided again by a closer look, and "blind" {error} when it could not.
 *
 * Prompts are answered one after the other, since each builds on the mask of the one before. Where
 * one goes is settled when it is given; an answer is dropped where its photo is gone, its object was
 * deleted or taken back, or its prompt was.
 */
export class Segmenter extends EventTarget {
  #turn = Promise.resolve();
  #photo = 0;
  #generation = 0; // prompts of another one are not answered any more
  #live = 0; // prompts that wait for their answers
  #aimed = null; // at what the last of them goes: {id, draft, isPut, hasBox, choices}
  #hovered = null;
  #isHovering = false;
  #foreseen = null; // the newest answer to a prompt that may be given next: {handle, before, prompt, found}
  #looks = Promise.resolve(); // one after the other

  /**
   * @param {object} engine - see engine.js.
   * @param {object} manifest - checked.
   * @param {MaskDocument} masks
   */
  constructor(engine, manifest, masks, buckets) {
    super();
    this.engine = engine;
    this.manifest = manifest;
    this.masks = masks;
    this.buckets = buckets;
    this.handle = null;
    this.isAnswering = false; // while an answer is put into the document
    this.looker = null; // answers are decided again by its closer looks, see second-look.js
  }

  /** Let go of the photo: what is still asked about it is not answered any more. */
  leave() {
    if (this.handle) this.engine.release(this.handle);
    this.handle = null;
    this.#foreseen = null;
    this.looksBy(null);
    this.#photo += 1;
    this.#hovered = null;
    this.cancel();
  }

  /** Take over an encoded photo. */
  use(handle) {
    this.leave();
    this.handle = handle;
  }

  /** Have answers from now on decided again by a looker's closer looks; by none without one. */
  looksBy(looker) {
    this.looker?.release();
    this.looker = looker;
  }

  /** Take back the prompts that still wait for their answers; whether there were some. */
  cancel() {
    const had = this.#live > 0;
    this.#generation += 1;
    this.#live = 0;
    return had;
  }

  /** `at` is when it was clicked, by performance.now(). */
  click(point, label, { at = performance.now() } = {}) {
    return this.#ask((object) => ({ ...object, points: [...object.points, point], labels: [...object.labels, label] }), { at });
  }

  box(box, { at = performance.now() } = {}) {
    return this.#ask((object) => ({ ...object, box }), { isBox: true, at });
  }

  /** Count another of the masks that a decoder gave. */
  choose(token) {
    const object = this.masks.active;
    if (object?.result && object.result.token !== token) {
      this.masks.put({ ...object, result: { ...object.result, token } });
    }
  }

  /** Whether the model and the object take one more click. */
  #check({ points, box }) {
    const most = mostPoints(this.buckets, { hasBox: Boolean(box) });
    if (points.length > most) {
      throw new PromptError(`This model takes at most ${most} clicks on an object: undo some, or start a new object.`);
    }
  }

  /** Where a prompt goes that is given now: a second box begins another object. */
  #aim(isBox) {
    const { choices, active } = this.masks;
    const goesOn = this.#live > 0 && this.#aimed.choices === choices ? this.#aimed : null;
    const hasBox = goesOn ? goesOn.hasBox : Boolean(active?.box);
    if ((isBox && hasBox) || (!goesOn && !active)) {
      const draft = this.masks.draft();
      return { id: draft.id, draft, isPut: false, hasBox: isBox, choices };
    }
    if (!goesOn) return { id: active.id, draft: null, isPut: true, hasBox: isBox || hasBox, choices };
    goesOn.hasBox ||= isBox;
    return goesOn;
  }

  /** The object that a prompt goes to, as it is now; nothing where it is gone. */
  #aimedAt({ id, draft, isPut }) {
    return this.masks.objects.find((one) => one.id === id) ?? (isPut ? null : draft);
  }

  #ask(change, { isBox = false, at }) {
    const aim = this.#aim(isBox);
    this.#aimed = aim;
    this.#live += 1;
    const generation = this.#generation;
    const isOff = () => generation !== this.#generation;
    this.#turn = this.#turn.then(() => (isOff() ? null : this.#answer(aim, change, { isOff, at }))).catch((error) => {
      if (!isOff()) this.dispatchEvent(new CustomEvent("failed", { detail: { error } }));
    }).finally(() => {
      if (!isOff()) this.#live -= 1;
    });
    return this.#turn;
  }

  async #answer(aim, change, { isOff, at }) {
    const before = this.#aimedAt(aim);
    if (!before || !this.handle) return;
    const { points, labels, box } = change(before);
    this.#check({ points, box });
    const result = await this.#decoded({ points, labels, box }, before.result);
    const now = this.#aimedAt(aim);
    if (isOff() || now?.points !== before.points || now.box !== before.box) return;
    const object = { ...now, points, labels, box, result };
    aim.isPut = true;
    this.isAnswering = true;
    this.masks.put(object, { isActive: aim.choices === this.masks.choices });
    this.isAnswering = false;
    this.dispatchEvent(new CustomEvent("answered", { detail: { start: at, object } }));
    this.#lookCloser(object, before.result);
  }

  /** Decide an answer that is shown again; where its prompt has changed meanwhile it is dropped. */
  #lookCloser({ id, points, labels, box, result }, before) {
    const { looker } = this;
    if (!looker) return;
    const isOff = () => looker !== this.looker || this.masks.objects.find((one) => one.id === id)?.result !== result;
    const prompt = { points, labels, box, ...chosenFocus(this.#maskOf(before)) };
    this.#looks = this.#looks.then(async () => {
      const found = isOff() ? null : await looker.look(prompt, result, isOff);
      if (found?.result) this.masks.exchange(result, found.result);
      if (found) this.dispatchEvent(new CustomEvent("looked", { detail: found }));
    }).catch((error) => {
      if (!isOff()) this.dispatchEvent(new CustomEvent("blind", { detail: { error } }));
    });
  }

  /** A result that is a prompt for the next click; null where there is none, or the model takes none. */
  #maskOf(before) {
    return before && this.manifest.prompts.includes("mask") ? before : null;
  }

  async #decoded(object, before) {
    const taken = this.#maskOf(before);
    const mask = taken && chosenLogits(taken).slice();
    const prompt = { points: object.points, labels: object.labels, box: object.box, mask };
    const foreseen = this.#isForeseen(prompt, taken) ? await this.#foreseen.found.catch(() => null) : null;
    const { logits, iou } = foreseen ?? (await this.engine.decode(this.handle, prompt));
    return resultOf({ logits, iou }, { isAmbiguous: isAmbiguous(prompt) });
  }

  /** Begin to answer a click whose button is pressed: by the time it is let go the answer is often there. */
  foresee(point, label) {
    if (!this.handle || this.#live > 0) return;
    const { points = [], labels = [], box = null, result = null } = this.masks.active ?? {};
    const before = this.#maskOf(result);
    const prompt = { points: [...points, point], labels: [...labels, label], box, mask: before && chosenLogits(before).slice() };
    if (prompt.points.length <= mostPoints(this.buckets, { hasBox: Boolean(box) })) this.#foretold(prompt, before);
  }

  /** The answer to a prompt, asked for now unless it was before. */
  #foretold(prompt, before) {
    if (!this.#isForeseen(prompt, before)) {
      const found = this.engine.decode(this.handle, prompt);
      found.catch(() => {}); // whoever awaits it hears of it
      this.#foreseen = { handle: this.handle, before, prompt, found };
    }
    return this.#foreseen.found;
  }

  #isForeseen({ points, labels, box }, before) {
    const { handle = null, before: other, prompt } = this.#foreseen ?? {};
    const text = (one) => JSON.stringify([one.points, one.labels, one.box]);
    return handle !== null && handle === this.handle && other === before && text(prompt) === text({ points, labels, box });
  }

  /**
   * What a click at a place would give, for a preview. The newest place wins.
   *
   * @returns {Promise<{result: object | null, ms: number} | null>} null where another place or
   *   another photo came between.
   */
  async hover(point) {
    this.#hovered = point;
    if (this.#isHovering || !point || !this.handle) return null; // the newest place comes next
    this.#isHovering = true;
    const photo = this.#photo;
    const start = performance.now();
    try {
      const prompt = { points: [point], labels: [1], box: null, mask: null };
      const found = await this.#foretold(prompt, null);
      if (photo !== this.#photo) return null;
      return { result: resultOf(found, { isAmbiguous: true }), ms: performance.now() - start };
    } finally {
      this.#isHovering = false;
    }
  }

  /** The place that the pointer went to since the last hover. */
  get hovered() {
    return this.#hovered;
  }

  /**
   * Find everything; what was found until `signal` is an entry each in the document.
   *
   * @returns {Promise<number | null>} how many; null where another photo came between.
   */
  async everything({ pointsPerSide, progress, signal }) {
    const found = await this.#ofThisPhoto((handle) => this.engine.everything(handle, { pointsPerSide, progress, signal }));
    if (found) this.#putFound(found);
    return found && found.length;
  }

  /**
   * Find the things that a text names; each is an object with its word as its name.
   *
   * @returns {Promise<object[] | null>} what became of each word; null where another photo came between.
   */
  async find({ text, progress, signal }) {
    const answer = await this.#ofThisPhoto((handle) => this.engine.find(handle, { text, progress, signal }));
    if (answer) this.#putFound(answer.found);
    return answer && answer.words;
  }

  /** What a search gives, or null where another photo came between: what fails about that is no news. */
  async #ofThisPhoto(search) {
    const photo = this.#photo;
    try {
      const found = await search(this.handle);
      return photo === this.#photo ? found : null;
    } catch (error) {
      if (photo === this.#photo) throw error;
      return null;
    }
  }

  #putFound(found) {
    if (!found.length) return;
    this.masks.putAll(found.map(({ logits, iou, point, word, score }) => {
      const draft = this.masks.draft();
      const result = { logits, iou: Float32Array.of(iou), tokens: [], token: 0 };
      return { ...draft, name: word ?? draft.name, score: score ?? null, points: [point], labels: [1], result };
    }));
  }
}

/** The logits of a result as a prompt: those of its part, where it has one. */
function chosenFocus(result) {
  if (!result) return { mask: null, region: null };
  const { focus, iou, token } = result;
  if (!focus) return { mask: chosenLogits(result), region: null };
  return { mask: chosenLogits({ logits: focus.logits, iou, token }), region: focus.region };
}
