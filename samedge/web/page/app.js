// The page: opens the bundle, puts the parts together, and tells people what goes on.

import { makeFile, save } from "./modules/downloads.js";
import { MaskDocument } from "./modules/document.js";
import { createEngine } from "./modules/engine.js";
import { View } from "./modules/frame.js";
import { keepWhenQuiet } from "./modules/keeping.js";
import { everythingRules, promptBuckets, readManifest } from "./modules/manifest.js";
import { Painter } from "./modules/painter.js";
import { Candidates, ObjectList, percentText } from "./modules/panel.js";
import { Camera, closePhoto, listen, readPhoto } from "./modules/photos.js";
import { CloserLooks } from "./modules/looker.js";
import { Search } from "./modules/search.js";
import { Segmenter } from "./modules/segmenter.js";
import { Stage } from "./modules/stage.js";
import { config, json, wish } from "./modules/start.js";
import { milliseconds, Status } from "./modules/status.js";

const HOVER_MS = 120; // a decoder slower than that gives no preview under the pointer
const byId = (id) => document.getElementById(id);

class App {
  masks = new MaskDocument();
  painter = new Painter(byId("stage"));
  photo = null;
  preview = null;
  #asked = 0; // photos
  #opening = 0; // the newest of them that could be read
  #leaving = null; // aborted when another one comes
  hoverLimitMs = HOVER_MS;
  #hoverMs = 0;

  constructor() {
    const tool = () => document.querySelector("input[name=tool]:checked").value;
    this.stage = new Stage(byId("stage"), this.painter, tool);
    this.candidates = new Candidates(byId("candidates"), byId("candidates-none"), (token) => this.segmenter?.choose(token));
    this.objects = new ObjectList(byId("objects"), byId("objects-none"), {
      select: (id) => this.masks.active?.id === id || this.masks.select(id),
      rename: (id, name) => this.masks.rename(id, name),
      remove: (id) => this.masks.remove(id),
    });
    this.status = new Status(byId);
    this.search = new Search(byId, this.status, () => this.segmenter);
    this.ready = this.#start().catch((error) => this.#failed(error));
    this.#listen();
    this.#draw();
  }

  // ---- opening

  async #start() {
    const bundle = json("bundle.json");
    bundle.catch(() => {}); // it is awaited below
    const { engine: kind } = await config;
    this.engine = await createEngine(kind, { ...wish, onLost: (reason) => this.#lost(reason), onReopened: (info) => this.#reopened(info) });
    this.manifest = readManifest(await bundle);
    byId("model").textContent = this.manifest.model.name;
    byId("model").hidden = false;
    const own = String(everythingRules(this.manifest).pointsPerSide);
    if ([...byId("detail").options].some((option) => option.value === own)) byId("detail").value = own;
    byId("where").textContent = kind === "server" ? "the server of this page" : "this device";
    const start = performance.now();
    this.info = await this.engine.open(this.manifest, (done, total) => {
      byId("loading").value = total ? done / total : 0;
    });
    this.segmenter = new Segmenter(this.engine, this.manifest, this.masks, promptBuckets(this.manifest));
    this.segmenter.addEventListener("answered", ({ detail }) => this.#answered(detail));
    this.segmenter.addEventListener("failed", ({ detail }) => this.#refused(detail.error));
    this.closer = new CloserLooks(byId, this.status, this);
    this.#showEngine(performance.now() - start);
    if (this.manifest.prompts.includes("text")) this.engine.words().then((known) => this.search.offer(known)).catch((error) => console.info(error));
    const checked = Promise.resolve(this.info.checked).catch((error) => this.#failed(error));
    if (kind !== "server") checked.then(keepWhenQuiet);
  }

  #showEngine(openMs) {
    this.status.engine(this.info);
    requestAnimationFrame(() => (document.documentElement.dataset.ready = performance.now().toFixed(1)));
    const { model, precision, id } = this.manifest;
    byId("help-facts").textContent = `${model.name}, ${precision}, bundle ${id}, ${model.licence}. Ready in ${Math.round(openMs)} ms.`;
  }

  /** A model that cannot be opened or trusted: photos that are opened later say so, too. */
  #failed(error) {
    this.reason = error;
    this.status.failed(error);
  }

  /**
   * Open a photo, unless one that was asked for later is read before it.
   *
   * @param {Blob | Promise<Blob>} source
   * @param {string} name
   */
  async open(source, name) {
    const turn = ++this.#asked;
    this.status.busy(turn, "Reading the photo");
    try {
      const blob = await source;
      const given = performance.now();
      const photo = await readPhoto(blob, name);
      if (this.#take(turn, photo)) await this.#encode(photo, performance.now() - given);
    } catch (error) {
      if (turn >= this.#opening) this.#refused(error);
    } finally {
      this.status.busy(turn, null);
    }
  }

  /** Let a photo that was read take the place of others that are on their way. */
  #take(turn, photo) {
    if (turn < this.#opening) {
      closePhoto(photo);
      return false;
    }
    this.#opening = turn;
    this.#leaving?.abort();
    this.#leaving = new AbortController();
    return true;
  }

  async #encode(photo, readMs) {
    const { signal } = this.#leaving;
    const turn = this.#opening;
    unfold(true);
    await this.ready;
    if (!this.segmenter || turn !== this.#opening) {
      closePhoto(photo);
      if (this.segmenter) return;
      unfold(false);
      throw this.reason;
    }
    this.#show(photo);
    this.status.busy(turn, "Looking at the photo");
    const start = performance.now();
    const handle = await this.engine.encode({ blob: photo.blob, bitmap: photo.bitmap, signal });
    if (turn !== this.#opening) {
      this.engine.release(handle);
      return;
    }
    this.segmenter.use(handle);
    this.#encoded(handle, readMs + performance.now() - start);
  }

  #show(photo) {
    this.photo?.shown.close();
    this.photo = photo;
    this.search.leave();
    this.segmenter.leave();
    this.stage.cancel();
    this.masks.reset();
    this.view = new View(this.manifest.frame, photo.size);
    this.painter.show(photo.shown, this.view, this.manifest.thresholds.mask);
    const [height, width] = photo.size;
    byId("stage").setAttribute("aria-label", `${photo.name}, ${width} by ${height} pixels`);
    this.isEncoded = false;
    this.#draw();
  }

  #encoded({ timing }, totalMs) {
    this.isEncoded = true;
    this.closer.use({ handle: this.segmenter.handle, view: this.view });
    this.#hoverMs = 0;
    byId("encode-time").hidden = false;
    byId("encode-time").textContent = `Photo read in ${milliseconds(totalMs)} ms`;
    byId("encode-time").title = `Preparing ${milliseconds(timing.preprocess)} ms, encoder ${milliseconds(timing.encode)} ms`;
    document.documentElement.dataset.encoded = String(Math.round(totalMs));
    this.status.announce("The photo is ready. Click on a thing, or use the keys.");
    this.#draw();
    byId("stage").focus({ preventScroll: true, focusVisible: false });
  }

  // ---- what comes back

  /** A mask was painted: what it took is known at its frame, and all else follows after that. */
  #answered({ start, object }) {
    requestAnimationFrame(() => {
      const ms = performance.now() - start;
      setTimeout(() => this.#tell(object, ms));
    });
  }

  #tell(object, ms) {
    this.#drawPanel();
    byId("click-time").hidden = false;
    byId("click-time").textContent = `Last click ${milliseconds(ms)} ms`;
    if (this.masks.objects.includes(object)) { // another photo, or a way back, may have come between
      const percent = Math.round(Math.min(object.result.iou[object.result.token], 1) * 100);
      this.status.announce(`${object.name} covers ${percentText(this.#shareOf(object))} of the photo, ${percent} percent sure.`);
    }
    const { dataset } = document.documentElement;
    dataset.clicked = ms.toFixed(2);
    dataset.answers = String(1 + Number(dataset.answers ?? 0));
  }

  /** Say why there is no mask; an engine that cannot be trusted any more is at an end. */
  #refused(error) {
    if (error.name === "BundleError") this.#failed(error);
    else this.status.complain(error);
  }

  #lost(reason) {
    this.status.announce("What computes was lost; it is started again.");
    this.status.note(`Started again: ${reason}.`);
  }

  /** What computes may be another engine than before. */
  #reopened(info) {
    this.info = { ...this.info, ...info };
    this.status.engine(this.info);
  }

  // ---- drawing

  #shareOf(object) {
    return object.result ? this.painter.painted(object.result, object.colour).share : 0;
  }

  /** Show the document; where a click was answered, what stands beside the photo comes after the mask's frame. */
  #draw() {
    if (this.photo && this.view) {
      this.painter.drawMasks(this.masks.objects, { active: this.masks.active, preview: this.preview });
      this.#drawMarks();
    }
    if (!this.segmenter?.isAnswering) this.#drawPanel();
  }

  #drawPanel() {
    const { objects, active } = this.masks;
    byId("undo").disabled = !this.masks.canUndo;
    byId("redo").disabled = !this.masks.canRedo;
    byId("clear").disabled = !objects.length;
    this.search.show({ isReady: Boolean(this.isEncoded) });
    for (const button of document.querySelectorAll("[data-download]")) button.disabled = !objects.length;
    if (!this.photo || !this.view) return;
    this.objects.show(objects, active, (object) => this.#shareOf(object));
    this.candidates.show(active, this.photo.shown, this.view, this.manifest.thresholds.mask);
  }

  #drawMarks() {
    this.painter.drawMarks(this.masks.active, { box: this.stage.pendingBox, cursor: this.stage.cursor });
  }

  #drawPreview(result) {
    this.preview = result;
    this.painter.drawMasks(this.masks.objects, { active: this.masks.active, preview: result });
    document.documentElement.dataset.preview = result ? "shown" : "none";
  }

  async #hover(point) {
    if (!byId("hover").checked || !this.isEncoded || this.#hoverMs > this.hoverLimitMs || this.stage.pendingBox) return;
    if (!point) this.#drawPreview(null);
    const found = await this.segmenter.hover(point).catch(() => null);
    if (!found) return;
    this.#hoverMs = this.#hoverMs ? 0.7 * this.#hoverMs + 0.3 * found.ms : found.ms;
    const isWanted = this.segmenter.hovered && byId("hover").checked && !this.stage.pendingBox;
    this.#drawPreview(isWanted ? found.result : null);
    if (this.segmenter.hovered && this.segmenter.hovered !== point) this.#hover(this.segmenter.hovered);
  }

  // ---- what people do

  async download(kind) {
    try {
      const objects = this.masks.objects.filter((object) => object.result);
      const threshold = this.manifest.thresholds.mask;
      save(await makeFile(kind, { photo: this.photo, objects, view: this.view, threshold }));
    } catch (error) {
      this.status.complain(error);
    }
  }

  /** Take back the last step; a click that is not answered yet is one. */
  undo() {
    if (this.segmenter?.cancel()) this.status.announce("The click was taken back.");
    else this.masks.undo();
  }

  clear() {
    this.segmenter?.cancel();
    this.masks.clear();
  }

  newObject() {
    this.masks.select(null);
    this.status.announce("The next click begins a new object.");
  }

  #click({ detail: { point, label, at } }) {
    if (this.isEncoded) this.segmenter.click(point, label, { at });
  }

  #box({ detail: { box, at } }) {
    if (this.isEncoded) this.segmenter.box(box, { at });
  }

  // ---- wiring

  #listen() {
    const open = (blob, name) => this.open(blob, name);
    const on = (id, handler) => byId(id).addEventListener("click", () => handler());
    listen(open);
    for (const id of ["open", "open-card"]) on(id, () => byId("file").click());
    for (const id of ["file", "file-camera"]) {
      byId(id).addEventListener("change", ({ target }) => {
        if (target.files[0]) open(target.files[0], target.files[0].name);
        target.value = "";
      });
    }
    for (const button of document.querySelectorAll("[data-sample]")) {
      button.addEventListener("click", () => this.#sample(button.dataset.sample));
    }
    const camera = new Camera({
      dialog: byId("camera-dialog"), video: byId("camera-video"), take: byId("camera-take"),
      cancel: byId("camera-cancel"), fallback: byId("file-camera"),
    }, open);
    on("camera", () => camera.show().catch((error) => this.status.complain(error)));
    on("undo", () => this.undo());
    on("redo", () => this.masks.redo());
    on("clear", () => this.clear());
    on("new-object", () => this.newObject());
    on("help-open", () => byId("help").showModal());
    on("help-close", () => byId("help").close());
    for (const button of document.querySelectorAll("[data-download]")) {
      button.addEventListener("click", () => this.download(button.dataset.download));
    }
    this.search.addEventListener("change", () => this.#draw());
    this.masks.addEventListener("change", () => {
      this.preview = null; // the document has something newer to show
      this.#draw();
    });
    navigator.serviceWorker?.addEventListener("message", ({ data }) => {
      if (data === "renewed") this.status.note("Another version of this page is here: reload to use it.");
    });
    this.stage.addEventListener("click", (event) => this.#click(event));
    this.stage.addEventListener("press", ({ detail }) => this.isEncoded && this.segmenter.foresee(detail.point, detail.label));
    this.stage.addEventListener("box", (event) => this.#box(event));
    this.stage.addEventListener("hover", ({ detail }) => this.#hover(detail.point));
    this.stage.addEventListener("pending", () => this.photo && this.view && this.#drawMarks());
    addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => {
      if (this.painter.layout()) this.#draw();
      else if (this.photo && this.view) this.#drawMarks();
    }).observe(byId("stage"));
  }

  #sample(address) {
    const blob = fetch(address).catch(() => null).then((response) => {
      if (!response?.ok) throw new Error("The sample could not be loaded: check the connection, or open a photo of your own.");
      return response.blob();
    });
    this.open(blob, address.split("/").pop());
  }

  #key(event) {
    const isTyping = event.target.matches?.("input[type=text], select, textarea") || document.querySelector("dialog[open]");
    if (isTyping || event.altKey || event.defaultPrevented) return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key === "z") event.shiftKey ? this.masks.redo() : this.undo();
      else if (key === "y") this.masks.redo();
      else return;
    } else if (["1", "2", "3"].includes(key)) this.candidates.chooseAt(Number(key) - 1);
    else if (key === "n") this.newObject();
    else if (key === "o") byId("file").click();
    else if (key === "e" && !byId("everything").disabled) this.search.everything();
    else if (key === "f" && !byId("words-card").hidden) byId("words").focus();
    else return;
    event.preventDefault();
  }
}

/** Show the place of the photo, or of the invitation to open one. */
function unfold(isOpen) {
  byId("work").toggleAttribute("data-empty", !isOpen);
  byId("drop").hidden = isOpen;
  byId("stage").hidden = !isOpen;
  byId("stage").tabIndex = isOpen ? 0 : -1;
}

globalThis.samedge = new App();
