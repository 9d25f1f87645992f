// The desk's page: opens photos, puts the parts together, and tells people what goes on.

import { createEngine } from "../modules/engine.js";
import { View } from "../modules/frame.js";
import { promptBuckets, readManifest } from "../modules/manifest.js";
import { Painter } from "../modules/painter.js";
import { Candidates } from "../modules/panel.js";
import { readPhoto } from "../modules/photos.js";
import { Segmenter } from "../modules/segmenter.js";
import { Stage } from "../modules/stage.js";
import { ask, leave, picture } from "./api.js";
import { Clock } from "./clock.js";
import { wire } from "./keys.js";
import { Layers } from "./layers.js";
import { CategoryList, MaskList, PhotoList } from "./lists.js";
import { Review } from "./review.js";
import { Saver } from "./saver.js";

const BEAT_MS = 20_000;
const byId = (id) => document.getElementById(id);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

class Desk {
  review = new Review();
  painter = new Painter(byId("stage"));
  layers = new Layers(this.painter, this.review);
  saver = new Saver();
  photo = null; // as the desk gave it
  view = null;
  categories = [];
  #history = []; // ids of photos before this one
  #handle = null;
  #isReady = false; // whether clicks are answered
  #shown = null; // the objects that were drawn and saved last
  #turn = 0;

  constructor() {
    const tool = () => document.querySelector("input[name=tool]:checked").value;
    this.tool = tool;
    this.stage = new Stage(byId("stage"), this.painter, tool);
    this.candidates = new Candidates(byId("candidates"), byId("candidates-none"), (token) => this.segmenter?.choose(token));
    this.masks = new MaskList(byId("masks"), {
      select: (id) => this.review.select(id),
      decide: (id, decision) => this.decide(id, decision),
    });
    this.categoryList = new CategoryList(byId("categories"), (name) => this.categorise(name));
    this.photos = new PhotoList({ list: byId("photos"), hint: byId("list-hint"), filter: byId("list-filter"), state: byId("list-state") }, (id) => {
      byId("list").close();
      this.go(id);
    });
    this.#listen();
    this.ready = this.#start().catch((error) => this.#failed(error));
  }

  // ---- opening

  async #start() {
    this.#busy("Opening the folder");
    const [config, bundle, desk] = await Promise.all([json("config.json"), json("bundle.json"), ask("")]);
    this.manifest = readManifest(bundle);
    this.desk = desk;
    this.clock = new Clock(desk.idle_s);
    this.engine = await createEngine(config, { onLost: () => {} });
    const info = await this.engine.open(this.manifest, () => {});
    this.segmenter = new Segmenter(this.engine, this.manifest, this.review, promptBuckets(this.manifest));
    this.segmenter.addEventListener("answered", ({ detail }) => this.#announce(`${detail.object.name} was drawn and counts.`));
    this.segmenter.addEventListener("failed", ({ detail }) => this.#complain(detail.error));
    byId("folder").hidden = false;
    byId("folder").textContent = desk.folder;
    byId("folder").title = `${desk.model}; results in ${desk.output}`;
    byId("engine").textContent = info.label;
    byId("engine").dataset.state = "ready";
    byId("help-facts").textContent = `${desk.annotator} works with ${desk.model}. Every change is saved at once in ${desk.output}. Time counts from one action to the next, a pause as at most ${desk.idle_s} s; nothing counts while the page is hidden.`;
    if (desk.notes.length) this.#complain(new Error(desk.notes.join(" ")));
    this.#named(desk.categories);
    this.#figures(desk.figures);
    setInterval(() => this.#beat(), BEAT_MS);
    await this.next();
  }

  /** Go to the first photo that is open and free. */
  async next() {
    await this.#leaving(async () => {
      const answer = await ask("/next", { after: this.photo?.id ?? null });
      if (answer.photo && this.photo) this.#history.push(this.photo.id);
      return answer;
    });
  }

  /** Go to a photo, a finished one, too. */
  async go(id) {
    await this.#leaving(async () => {
      const answer = await ask(`/photos/${id}/open`, {});
      if (this.photo && this.photo.id !== id) this.#history.push(this.photo.id);
      return answer;
    });
  }

  async back() {
    const before = this.#history.pop();
    if (!before) return;
    await this.#leaving(() => ask(`/photos/${before}/open`, {}));
  }

  /** Leave the photo when all of it is saved, and show what `choose` gives. */
  async #leaving(choose) {
    const turn = ++this.#turn;
    this.#isReady = false;
    this.#busy("Opening the next photo");
    try {
      await this.saver.flush();
      const { photo, figures } = await choose();
      if (turn !== this.#turn) return;
      this.#figures(figures);
      if (photo) await this.#show(photo, turn);
      else this.#showEnd();
    } catch (error) {
      this.#isReady = Boolean(this.#handle && this.photo);
      this.#complain(error);
    } finally {
      if (turn === this.#turn) this.#busy(null);
      this.#draw();
    }
  }

  async #show(photo, turn) {
    const blob = await picture(photo.id);
    const shown = await readPhoto(blob, photo.name);
    if (turn !== this.#turn) return;
    if (shown.size[0] !== photo.height || shown.size[1] !== photo.width) {
      throw new Error(`${photo.name} is ${photo.width} by ${photo.height} pixels for the model and ${shown.size[1]} by ${shown.size[0]} for this browser: save it again as PNG.`);
    }
    this.segmenter.leave();
    this.stage.cancel();
    this.#handle = null;
    delete document.documentElement.dataset.encoded;
    this.picture?.shown.close();
    this.picture = shown;
    this.photo = photo;
    this.view = new View(this.manifest.frame, shown.size);
    this.painter.show(shown.shown, this.view, this.manifest.thresholds.mask);
    byId("work").removeAttribute("data-empty");
    byId("finished").hidden = true;
    byId("stage").hidden = false;
    byId("stage").tabIndex = 0;
    byId("stage").setAttribute("aria-label", `${photo.name}, ${photo.width} by ${photo.height} pixels`);
    document.title = `${photo.name} - samedge`;
    this.painter.layout();
    this.#begin(photo);
    if (photo.notes.length) this.#complain(new Error(photo.notes.join(" ")));
    else byId("alert").hidden = true;
    await this.#encode(shown, turn);
    if (turn === this.#turn && !photo.has_proposals && !photo.masks.length) await this.askModel();
  }

  /** Take over a photo's masks as the desk has them. */
  #begin(photo) {
    this.photo = photo;
    this.masks.clear();
    this.#shown = null;
    this.review.begin(photo.masks, this.view);
    this.#shown = this.review.objects;
    this.clock.start(photo.seconds);
    this.saver.begin(photo, this.review.objects, { view: this.view, threshold: this.manifest.thresholds.mask, seconds: () => this.clock.seconds });
    this.status = photo.status;
    this.review.select(this.review.undecided[0]?.id ?? null);
    byId("stage").focus({ preventScroll: true, focusVisible: false });
    document.documentElement.dataset.photo = photo.id;
    this.#announce(`${photo.name}. ${plural(this.review.undecided.length, "mask")} to decide about.`);
  }

  async #encode(shown, turn) {
    this.#busy("Looking at the photo");
    const handle = await this.engine.encode({ blob: shown.blob, bitmap: shown.bitmap });
    if (turn !== this.#turn) return this.engine.release(handle);
    this.#handle = handle;
    this.segmenter.use(handle);
    this.#isReady = true;
    document.documentElement.dataset.encoded = this.photo.id;
  }

  /** Have everything mode propose masks; what was decided stays. */
  async askModel() {
    const turn = this.#turn;
    if (!this.photo || !this.#handle) return;
    this.#isReady = false;
    this.#busy("Asking the model for masks");
    this.#draw();
    try {
      await this.saver.flush();
      const { photo, figures } = await ask(`/photos/${this.photo.id}/proposals`, {});
      if (turn !== this.#turn) return;
      this.#figures(figures);
      this.#begin({ ...photo, seconds: this.clock.seconds });
      if (!photo.masks.length) this.#announce("The model found nothing: click on things to draw them.");
    } catch (error) {
      this.#complain(error);
    } finally {
      if (turn === this.#turn) {
        this.#isReady = true;
        this.#busy(null);
        this.#draw();
      }
    }
  }

  #showEnd() {
    this.saver.photo = this.photo = null;
    delete document.documentElement.dataset.photo;
    byId("work").dataset.empty = "";
    byId("stage").hidden = true;
    byId("finished").hidden = false;
    const { photos, done, skipped, unreadable } = this.figuresNow;
    const left = photos - done - skipped - unreadable;
    byId("finished-title").textContent = left ? "Nothing is free now" : "Every photo is done";
    byId("finished-text").textContent = left
      ? `${plural(left, "photo")} left, and somebody works on ${left === 1 ? "it" : "them"}, or the files are gone.`
      : `${plural(done, "photo")} with ${plural(this.figuresNow.masks, "mask")}; the file is in ${this.desk.output}.`;
    byId("finished-title").focus();
    document.documentElement.dataset.finished = "true";
  }

  #failed(error) {
    byId("engine").textContent = "The desk could not be opened";
    byId("engine").dataset.state = "failed";
    this.#busy(null);
    this.#complain(error);
  }

  async #beat() {
    const answer = await ask("/beat", {}).catch(() => null);
    if (!answer) return;
    this.#named(answer.categories);
    this.#figures(answer.figures);
  }

  // ---- what people do

  get canEdit() {
    return Boolean(this.photo) && this.#isReady && !this.saver.isLost;
  }

  decide(id, decision, options = {}) {
    if (!this.photo || this.saver.isLost) return;
    this.review.decide(id, decision, options);
    const left = this.review.undecided.length;
    this.#announce(`${decision === "accepted" ? "Accepted" : "Rejected"}. ${left} left.`);
  }

  decideActive(decision, options = {}) {
    if (this.review.active) this.decide(this.review.active.id, decision, options);
  }

  /** A category was chosen: it is the active mask's, and of what comes next. */
  categorise(name) {
    this.review.category = name;
    const { active } = this.review;
    if (active?.decision === "proposed") this.decide(active.id, "accepted", { category: name });
    else if (active) this.review.name(active.id, name);
    this.#draw();
  }

  async addCategory(name) {
    const added = name.trim().replace(/\s+/g, " ");
    if (!added) return;
    try {
      const answer = await ask("/categories", { add: [added] });
      this.#named(answer.categories);
      this.review.category = added;
      this.#draw();
    } catch (error) {
      this.#complain(error);
    }
  }

  /** Finish the photo, or leave it out, and go on. */
  async finish(status) {
    if (!this.photo || this.saver.isLost) {
      if (this.saver.isLost) await this.next();
      return;
    }
    const { accepted, undecided } = this.review;
    this.status = status;
    this.saver.save(this.review.objects, status);
    if (!(await this.saver.flush())) return;
    const left = undecided.length ? `; ${undecided.length} undecided left out` : "";
    this.#say(status === "done" ? `${plural(accepted.length, "mask")} kept${left}.` : "Skipped.");
    await this.next();
  }

  #click({ point, label }) {
    if (!this.canEdit) return;
    const picks = this.tool() === "pick" && label === 1;
    const found = picks ? this.layers.objectAt(point) : null;
    if (found) this.review.select(found.id);
    else if (picks) {
      this.review.select(null);
      this.segmenter.click(point, label);
    } else this.segmenter.click(point, label);
  }

  #box({ box }) {
    if (!this.canEdit) return;
    const { active } = this.review;
    // A box around nothing else's mask begins a new one, unless the active one is being mended.
    if (active && active.origin === "proposal" && this.tool() === "pick") this.review.select(null);
    this.segmenter.box(box);
  }

  newObject() {
    this.review.select(null);
    byId("stage").focus({ preventScroll: true });
    this.setTool("add");
    this.#announce("The next click or box draws a new mask.");
  }

  nextCandidate() {
    const { result } = this.review.active ?? {};
    if (!result?.tokens.length) return;
    const at = result.tokens.indexOf(result.token);
    this.segmenter.choose(result.tokens[(at + 1) % result.tokens.length]);
  }

  async openList() {
    if (!byId("list").open) byId("list").showModal();
    byId("list-hint").textContent = "Reading";
    try {
      this.photos.show((await ask("/photos")).photos, this.photo?.id);
    } catch (error) {
      byId("list-hint").textContent = error.message;
    }
  }

  async export() {
    byId("list-hint").textContent = "Writing";
    try {
      const { files, images, masks } = await ask("/export", {});
      byId("list-hint").textContent = files.length ? `Wrote ${plural(masks, "mask")} of ${plural(images, "photo")} to ${files.join(", ")}.` : "No photo is done yet.";
    } catch (error) {
      byId("list-hint").textContent = error.message;
    }
  }

  // ---- showing

  #draw() {
    const { objects, active, undecided, accepted } = this.review;
    const isOn = Boolean(this.photo) && !this.saver.isLost;
    for (const id of ["accept", "reject"]) byId(id).disabled = !isOn || !active;
    for (const id of ["accept-rest", "reject-rest"]) byId(id).disabled = !isOn || !undecided.length;
    for (const id of ["done", "skip"]) byId(id).disabled = !this.photo;
    byId("ask-model").disabled = !this.canEdit;
    byId("new-object").disabled = !this.canEdit;
    byId("undo").disabled = !isOn || !this.review.canUndo;
    byId("redo").disabled = !isOn || !this.review.canRedo;
    byId("back").disabled = !this.#history.length;
    byId("masks-count").textContent = this.photo ? `${accepted.length} accepted, ${undecided.length} undecided, ${objects.length - accepted.length - undecided.length} rejected` : "";
    this.categoryList.show(this.categories, active && active.decision !== "proposed" ? active.category ?? null : this.review.category);
    byId("candidates-card").hidden = !active?.result?.tokens.length;
    if (!this.photo || !this.view) return;
    this.layers.draw();
    this.#drawMarks();
    this.masks.show(objects, active, (object) => this.layers.shareOf(object));
    this.candidates.show(active, this.picture.shown, this.view, this.manifest.thresholds.mask);
    document.documentElement.dataset.undecided = String(undecided.length);
    document.documentElement.dataset.accepted = String(accepted.length);
  }

  #drawMarks() {
    if (this.view) this.painter.drawMarks(this.review.active, { box: this.stage.pendingBox, cursor: this.stage.cursor });
  }

  #changed() {
    if (this.photo && this.#shown && this.#shown !== this.review.objects) {
      this.#shown = this.review.objects;
      this.saver.save(this.review.objects, this.status === "skipped" ? "open" : this.status);
    }
    this.#draw();
  }

  #savedState({ state, message }) {
    const words = { saved: "Saved", saving: "Saving", failed: `Not saved, trying again: ${message}`, lost: "Not saved" };
    byId("saved").textContent = words[state];
    byId("saved").dataset.state = state === "lost" ? "failed" : state;
    document.documentElement.dataset.saved = state;
    if (state === "lost") {
      this.#complain(new Error(`${message} Nothing more is saved of this photo: D goes to the next one.`));
      this.#draw();
    }
  }

  #figures(figures) {
    this.figuresNow = figures;
    const { photos, done, skipped, masks, seconds_per_mask, ranked, order } = figures;
    byId("progress-line").hidden = false;
    byId("done-bar").max = photos;
    byId("done-bar").value = done + skipped;
    byId("done-text").textContent = `${done} of ${photos} done${skipped ? `, ${skipped} skipped` : ""}`;
    byId("seconds").textContent = masks ? `${masks} masks, ${seconds_per_mask.toFixed(1)} s each` : "";
    byId("note").hidden = order !== "rank" || ranked >= photos;
    byId("note").textContent = `The doubtful ones first: ${ranked} of ${photos} looked at`;
  }

  #named(categories) {
    this.categories = categories;
    this.#draw();
  }

  #complain(error) {
    console.info(error);
    byId("alert-text").textContent = String(error?.message ?? error);
    byId("alert").hidden = false;
  }

  #say(text) {
    this.#announce(text);
  }

  #announce(text) {
    byId("announce").textContent = text;
  }

  #busy(text) {
    byId("busy").hidden = text === null;
    if (text !== null) byId("busy-text").textContent = text;
    byId("work").setAttribute("aria-busy", String(text !== null));
  }

  /** Say what a click does. */
  setTool(name) {
    document.querySelector(`input[name=tool][value=${name}]`).checked = true;
  }

  #listen() {
    wire(this);
    this.review.addEventListener("change", () => this.#changed());
    this.saver.addEventListener("state", ({ detail }) => this.#savedState(detail));
    this.saver.addEventListener("figures", ({ detail }) => this.#figures(detail.figures));
    this.stage.addEventListener("click", ({ detail }) => this.#click(detail));
    this.stage.addEventListener("box", ({ detail }) => this.#box(detail));
    this.stage.addEventListener("pending", () => this.#drawMarks());
    addEventListener("beforeunload", (event) => {
      if (!this.saver.isClean) event.preventDefault();
    });
    addEventListener("pagehide", () => leave());
    new ResizeObserver(() => {
      if (this.painter.layout()) this.#draw();
      else this.#drawMarks();
    }).observe(byId("stage"));
  }
}

async function json(path) {
  const response = await fetch(path).catch(() => null);
  if (!response?.ok) throw new Error(`${path} cannot be loaded: is the server still running? Reload the page.`);
  return response.json();
}

globalThis.desk = new Desk();
