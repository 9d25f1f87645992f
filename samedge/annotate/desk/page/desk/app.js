// The desk's page: puts the parts together, and does what people ask for.

import { createEngine } from "../modules/engine.js";
import { promptBuckets, readManifest } from "../modules/manifest.js";
import { Painter } from "../modules/painter.js";
import { Candidates } from "../modules/panel.js";
import { Segmenter } from "../modules/segmenter.js";
import { Stage } from "../modules/stage.js";
import { ask, leave } from "./api.js";
import { Board, plural } from "./board.js";
import { Clock } from "./clock.js";
import { wire } from "./keys.js";
import { Layers } from "./layers.js";
import { CategoryList, MaskList, PhotoList } from "./lists.js";
import { Review } from "./review.js";
import { Saver } from "./saver.js";
import { Sitting } from "./sitting.js";

const BEAT_MS = 20_000;
const byId = (id) => document.getElementById(id);

class Desk {
  review = new Review();
  painter = new Painter(byId("stage"));
  layers = new Layers(this.painter, this.review);
  saver = new Saver();
  board = new Board();
  sitting = null; // until the folder is open
  categories = [];
  #shown = null; // the objects that were drawn and saved last

  constructor() {
    this.tool = () => document.querySelector("input[name=tool]:checked").value;
    this.stage = new Stage(byId("stage"), this.painter, this.tool);
    this.candidates = new Candidates(byId("candidates"), byId("candidates-none"), (token) => this.choose(token));
    this.masks = new MaskList(byId("masks"), {
      select: (id) => this.review.select(id),
      decide: (id, decision) => this.decide(id, decision),
    });
    this.categoryList = new CategoryList(byId("categories"), (name) => this.categorise(name));
    this.photos = new PhotoList({ list: byId("photos"), hint: byId("list-hint"), filter: byId("list-filter"), state: byId("list-state") }, (id) => {
      byId("list").close();
      this.sitting.go(id);
    });
    this.#listen();
    this.ready = this.#start().catch((error) => this.board.failed(error));
  }

  async #start() {
    this.board.busy("Opening the folder");
    const [config, bundle, desk] = await Promise.all([json("config.json"), json("bundle.json"), ask("")]);
    const { board, review, saver, stage, painter, masks } = this;
    const manifest = readManifest(bundle);
    const engine = await createEngine(config.engine, { onLost: () => {} });
    const info = await engine.open(manifest, () => {});
    this.segmenter = new Segmenter(engine, manifest, review, promptBuckets(manifest));
    this.segmenter.addEventListener("answered", ({ detail }) => board.announce(`${detail.object.name} was drawn and counts.`));
    this.segmenter.addEventListener("failed", ({ detail }) => board.complain(detail.error));
    board.begin(desk, info.label);
    const clock = new Clock(desk.idle_s);
    this.sitting = new Sitting({ board, review, saver, clock, engine, segmenter: this.segmenter, stage, painter, manifest, masks });
    this.sitting.addEventListener("change", () => this.#draw());
    this.#named(desk.categories);
    setInterval(() => this.#beat(), BEAT_MS);
    await this.sitting.begin();
  }

  async #beat() {
    const answer = await ask("/beat", {}).catch(() => null);
    if (!answer) return;
    this.#named(answer.categories);
    this.board.figures(answer.figures);
  }

  // ---- what people do

  get canDecide() {
    return Boolean(this.sitting?.canDecide);
  }

  get canEdit() {
    return Boolean(this.sitting?.canEdit);
  }

  decide(id, decision, options = {}) {
    if (!this.canDecide) return;
    this.review.decide(id, decision, options);
    const left = this.review.undecided.length;
    this.board.announce(`${decision === "accepted" ? "Accepted" : "Rejected"}. ${left} left.`);
  }

  decideActive(decision, options = {}) {
    if (this.review.active) this.decide(this.review.active.id, decision, options);
  }

  decideRest(decision) {
    if (this.canDecide) this.review.decideRest(decision);
  }

  undo() {
    if (this.canDecide) this.review.undo();
  }

  redo() {
    if (this.canDecide) this.review.redo();
  }

  /** A category was chosen: it is the active mask's, and of what comes next. */
  categorise(name) {
    this.review.category = name;
    const { active } = this.review;
    if (active?.decision === "proposed") this.decide(active.id, "accepted", { category: name });
    else if (active && this.canDecide) this.review.name(active.id, name);
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
      this.board.complain(error);
    }
  }

  /** Finish the photo, or leave it out, and go on. */
  async finish(status) {
    const { sitting, saver } = this;
    if (!sitting?.canFinish) return;
    if (saver.isLost) {
      await sitting.next();
      return;
    }
    const { photo } = sitting;
    await sitting.asked; // a mask that is on its way counts
    if (sitting.photo !== photo || !this.canDecide) return;
    const { accepted, undecided } = this.review;
    sitting.status = status;
    saver.save(this.review.objects, status);
    if (!(await saver.flush()) || sitting.photo !== photo || !sitting.canFinish) return;
    const left = undecided.length ? `; ${undecided.length} undecided left out` : "";
    this.board.announce(status === "done" ? `${plural(accepted.length, "mask")} kept${left}.` : "Skipped.");
    await sitting.next();
  }

  #click({ point, label }) {
    if (!this.canEdit) return;
    const picks = this.tool() === "pick" && label === 1;
    const found = picks ? this.layers.objectAt(point) : null;
    if (found) return this.review.select(found.id);
    if (picks) this.review.select(null);
    this.sitting.asked = this.segmenter.click(point, label);
  }

  #box({ box }) {
    if (!this.canEdit) return;
    const { active } = this.review;
    // A box around nothing else's mask begins a new one, unless the active one is being mended.
    if (active && active.origin === "proposal" && this.tool() === "pick") this.review.select(null);
    this.sitting.asked = this.segmenter.box(box);
  }

  newObject() {
    this.review.select(null);
    byId("stage").focus({ preventScroll: true });
    this.setTool("add");
    this.board.announce("The next click or box draws a new mask.");
  }

  /** Count another of the masks that a click gave. */
  choose(token) {
    if (this.canDecide) this.segmenter.choose(token);
  }

  nextCandidate() {
    const { result } = this.review.active ?? {};
    if (!result?.tokens.length) return;
    const at = result.tokens.indexOf(result.token);
    this.choose(result.tokens[(at + 1) % result.tokens.length]);
  }

  async openList() {
    if (!byId("list").open) byId("list").showModal();
    byId("list-hint").textContent = "Reading";
    try {
      this.photos.show((await ask("/photos")).photos, this.sitting?.photo?.id);
    } catch (error) {
      byId("list-hint").textContent = error.message;
    }
  }

  async export() {
    byId("list-hint").textContent = "Writing";
    try {
      const { files, images, masks, left_out } = await ask("/export", {});
      const missing = left_out.map(([name, why]) => ` ${name} is not in it: ${why}`).join("");
      byId("list-hint").textContent = files.length ? `Wrote ${plural(masks, "mask")} of ${plural(images, "photo")} to ${files.join(", ")}.${missing}` : `No photo is done yet.${missing}`;
    } catch (error) {
      byId("list-hint").textContent = error.message;
    }
  }

  /** Say what a click does. */
  setTool(name) {
    document.querySelector(`input[name=tool][value=${name}]`).checked = true;
  }

  // ---- showing

  #draw() {
    const { objects, active, undecided, accepted } = this.review;
    const { sitting } = this;
    const isOn = this.canDecide;
    for (const id of ["accept", "reject"]) byId(id).disabled = !isOn || !active;
    for (const id of ["accept-rest", "reject-rest"]) byId(id).disabled = !isOn || !undecided.length;
    for (const id of ["done", "skip"]) byId(id).disabled = !sitting?.canFinish;
    byId("ask-model").disabled = !this.canEdit;
    byId("new-object").disabled = !this.canEdit;
    byId("undo").disabled = !isOn || !this.review.canUndo;
    byId("redo").disabled = !isOn || !this.review.canRedo;
    byId("back").disabled = !sitting?.canGoBack;
    byId("masks-count").textContent = sitting?.photo ? `${accepted.length} accepted, ${undecided.length} undecided, ${objects.length - accepted.length - undecided.length} rejected` : "";
    this.categoryList.show(this.categories, active && active.decision !== "proposed" ? active.category ?? null : this.review.category);
    byId("candidates-card").hidden = !active?.result?.tokens.length;
    if (!sitting?.photo || !sitting.view) return;
    this.layers.draw();
    this.#drawMarks();
    this.masks.show(objects, active, (object) => this.layers.shareOf(object));
    this.candidates.show(active, sitting.picture.shown, sitting.view, sitting.manifest.thresholds.mask);
    document.documentElement.dataset.undecided = String(undecided.length);
    document.documentElement.dataset.accepted = String(accepted.length);
  }

  #drawMarks() {
    if (this.sitting?.view) this.painter.drawMarks(this.review.active, { box: this.stage.pendingBox, cursor: this.stage.cursor });
  }

  /** Save what is another state of the photo in hand; a photo that begins has its state on disk. */
  #changed() {
    const isNew = this.#shown !== this.review.objects;
    this.#shown = this.review.objects;
    if (isNew && this.canDecide) this.saver.save(this.#shown, this.sitting.status === "skipped" ? "open" : this.sitting.status);
    this.#draw();
  }

  /** Take over the categories; one that others took away is not given any more, and masks keep it. */
  #named(categories) {
    const gone = this.categories.filter((name) => !categories.includes(name));
    this.categories = categories;
    if (gone.length) this.board.complain(`${gone.join(", ")}: not among the categories any more. Masks that have it keep it; the keys are those of the list.`);
    if (gone.includes(this.review.category)) this.review.category = null;
    this.#draw();
  }

  #listen() {
    wire(this);
    this.review.addEventListener("change", () => this.#changed());
    this.saver.addEventListener("state", ({ detail }) => {
      this.board.saved(detail);
      if (detail.state === "lost") this.#draw();
    });
    this.saver.addEventListener("figures", ({ detail }) => this.board.figures(detail.figures));
    this.stage.addEventListener("click", ({ detail }) => this.#click(detail));
    this.stage.addEventListener("box", ({ detail }) => this.#box(detail));
    this.stage.addEventListener("pending", () => this.#drawMarks());
    addEventListener("beforeunload", (event) => {
      if (!this.saver.isClean) event.preventDefault();
    });
    addEventListener("pagehide", () => leave());
    addEventListener("pageshow", (event) => {
      if (event.persisted) this.sitting?.again(); // by the back button
    });
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
