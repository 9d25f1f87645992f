// The page: opens the bundle, puts the parts together, and tells people what goes on.

import { makeFile, save } from "./modules/downloads.js";
import { MaskDocument } from "./modules/document.js";
import { createEngine } from "./modules/engine.js";
import { View } from "./modules/frame.js";
import { everythingRules, promptBuckets, readManifest } from "./modules/manifest.js";
import { Painter } from "./modules/painter.js";
import { Candidates, ObjectList, percentText } from "./modules/panel.js";
import { Camera, listen, readPhoto } from "./modules/photos.js";
import { Segmenter } from "./modules/segmenter.js";
import { Stage } from "./modules/stage.js";

const HOVER_MS = 120; // a decoder slower than that gives no preview under the pointer
const KEEP_AFTER_MS = 3000; // the first photo goes before keeping the site for offline use
const byId = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const milliseconds = (value) => (value < 10 ? value.toFixed(1) : Math.round(value));

class App {
  masks = new MaskDocument();
  painter = new Painter(byId("stage"));
  photo = null;
  preview = null;
  #opening = 0;
  hoverLimitMs = HOVER_MS;
  #hoverMs = 0;
  #stopping = null;

  constructor() {
    const tool = () => document.querySelector("input[name=tool]:checked").value;
    this.stage = new Stage(byId("stage"), this.painter, tool);
    this.candidates = new Candidates(byId("candidates"), byId("candidates-none"), (token) => this.segmenter?.choose(token));
    this.objects = new ObjectList(byId("objects"), byId("objects-none"), {
      select: (id) => this.masks.active?.id === id || this.masks.select(id),
      rename: (id, name) => this.masks.rename(id, name),
      remove: (id) => this.masks.remove(id),
    });
    this.ready = this.#start().catch((error) => this.#failed(error));
    this.#listen();
    this.#draw();
  }

  // ---- opening

  async #start() {
    const bundle = json("bundle.json");
    bundle.catch(() => {}); // it is awaited below
    const config = await json("config.json");
    const threads = Number(query.get("threads")) || null;
    this.engine = await createEngine(config, { onLost: (reason) => this.#lost(reason), device: query.get("device"), threads });
    this.manifest = readManifest(await bundle);
    byId("model").textContent = this.manifest.model.name;
    byId("model").hidden = false;
    const own = String(everythingRules(this.manifest).pointsPerSide);
    if ([...byId("detail").options].some((option) => option.value === own)) byId("detail").value = own;
    byId("where").textContent = config.engine === "server" ? "the server of this page" : "this device";
    const start = performance.now();
    this.info = await this.engine.open(this.manifest, (done, total) => {
      byId("loading").value = total ? done / total : 0;
    });
    this.segmenter = new Segmenter(this.engine, this.manifest, this.masks, promptBuckets(this.manifest));
    this.segmenter.addEventListener("answered", ({ detail }) => this.#answered(detail));
    this.segmenter.addEventListener("failed", ({ detail }) => this.#complain(detail.error));
    this.#showEngine(performance.now() - start);
    Promise.resolve(this.info.checked).catch((error) => this.#failed(error));
    if (config.engine !== "server") setTimeout(registerWorker, KEEP_AFTER_MS);
  }

  #showEngine(openMs) {
    const { label, notes } = this.info;
    byId("engine").textContent = label;
    byId("engine").dataset.state = "ready";
    byId("loading").hidden = true;
    for (const text of notes) this.#note(text);
    const { model, precision, id } = this.manifest;
    byId("help-facts").textContent = `${model.name}, ${precision}, bundle ${id}, ${model.licence}. Ready in ${Math.round(openMs)} ms.`;
  }

  #failed(error) {
    byId("engine").textContent = "The model could not be opened";
    byId("engine").dataset.state = "failed";
    byId("loading").hidden = true;
    this.#complain(error);
  }

  async open(blob, name) {
    const turn = ++this.#opening;
    this.#busy("Reading the photo");
    try {
      const given = performance.now();
      const photo = await readPhoto(blob, name);
      const readMs = performance.now() - given;
      if (turn !== this.#opening) return;
      byId("work").removeAttribute("data-empty");
      byId("drop").hidden = true;
      byId("stage").hidden = false;
      byId("stage").tabIndex = 0;
      await this.ready;
      if (!this.segmenter) return; // the reason is shown already
      this.#show(photo);
      this.#busy("Looking at the photo");
      const start = performance.now();
      const handle = await this.engine.encode({ blob, bitmap: photo.bitmap });
      if (turn !== this.#opening) {
        this.engine.release(handle);
        return;
      }
      this.segmenter.use(handle);
      this.#encoded(handle, readMs + performance.now() - start);
    } catch (error) {
      this.#complain(error);
    } finally {
      if (turn === this.#opening) this.#busy(null);
    }
  }

  #show(photo) {
    this.photo?.shown.close();
    this.photo = photo;
    this.#stopping?.abort();
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
    this.#hoverMs = 0;
    byId("encode-time").hidden = false;
    byId("encode-time").textContent = `Photo read in ${milliseconds(totalMs)} ms`;
    byId("encode-time").title = `Preparing ${milliseconds(timing.preprocess)} ms, encoder ${milliseconds(timing.encode)} ms`;
    document.documentElement.dataset.encoded = String(Math.round(totalMs));
    this.#announce("The photo is ready. Click on a thing, or use the keys.");
    this.#draw();
    byId("stage").focus({ preventScroll: true, focusVisible: false });
  }

  // ---- what comes back

  #answered({ start, object }) {
    requestAnimationFrame(() => {
      const ms = performance.now() - start;
      byId("click-time").hidden = false;
      byId("click-time").textContent = `Last click ${milliseconds(ms)} ms`;
      document.documentElement.dataset.clicked = ms.toFixed(2);
      document.documentElement.dataset.answers = String(1 + Number(document.documentElement.dataset.answers ?? 0));
    });
    const percent = Math.round(Math.min(object.result.iou[object.result.token], 1) * 100);
    this.#announce(`${object.name} covers ${percentText(this.#shareOf(object))} of the photo, ${percent} percent sure.`);
  }

  #lost(reason) {
    this.#announce("The browser ended what computes; it is started again.");
    this.#note(`Started again: ${reason}.`);
  }

  /** Add to what is to be known about the engine and the page. */
  #note(text) {
    const note = byId("note");
    if (!note.textContent.includes(text)) note.textContent = `${note.textContent} ${text}`.trim();
    note.hidden = false;
  }

  #complain(error) {
    console.info(error);
    byId("alert-text").textContent = String(error?.message ?? error);
    byId("alert").hidden = false;
  }

  #announce(text) {
    byId("announce").textContent = text;
  }

  #busy(text) {
    byId("busy").hidden = text === null;
    if (text !== null) byId("busy-text").textContent = text;
    byId("work").setAttribute("aria-busy", String(text !== null));
  }

  // ---- drawing

  #shareOf(object) {
    return object.result ? this.painter.painted(object.result, object.colour).share : 0;
  }

  #draw() {
    const { objects, active } = this.masks;
    byId("undo").disabled = !this.masks.canUndo;
    byId("redo").disabled = !this.masks.canRedo;
    byId("clear").disabled = !objects.length;
    byId("everything").disabled = !this.isEncoded || Boolean(this.#stopping);
    for (const button of document.querySelectorAll("[data-download]")) button.disabled = !objects.length;
    if (!this.photo || !this.view) return;
    this.painter.drawMasks(objects, { active, preview: this.preview });
    this.#drawMarks();
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
    this.#drawPreview(this.segmenter.hovered ? found.result : null);
    if (this.segmenter.hovered && this.segmenter.hovered !== point) this.#hover(this.segmenter.hovered);
  }

  // ---- what people do

  async everything() {
    this.#stopping = new AbortController();
    const { signal } = this.#stopping;
    byId("everything-progress").hidden = false;
    byId("everything-bar").value = 0;
    this.#draw();
    try {
      const count = await this.segmenter.everything({
        pointsPerSide: Number(byId("detail").value),
        signal,
        progress: (done, total) => {
          byId("everything-bar").value = done / total;
          byId("everything-count").textContent = `${Math.round((done / total) * 100)} %`;
        },
      });
      if (count === null) return; // another photo is shown
      this.#announce(count === 1 ? "One thing was found." : `${count} things were found.`);
      if (!count && !signal.aborted) this.#complain(new Error("Nothing was found that the model is sure of: try a finer detail, or click."));
    } catch (error) {
      this.#complain(error);
    } finally {
      this.#stopping = null;
      byId("everything-progress").hidden = true;
      document.documentElement.dataset.everything = "done";
      this.#draw();
    }
  }

  async download(kind) {
    try {
      const objects = this.masks.objects.filter((object) => object.result);
      const threshold = this.manifest.thresholds.mask;
      save(await makeFile(kind, { photo: this.photo, objects, view: this.view, threshold }));
    } catch (error) {
      this.#complain(error);
    }
  }

  newObject() {
    this.masks.select(null);
    this.#announce("The next click begins a new object.");
  }

  #click({ detail: { point, label } }) {
    if (this.isEncoded) this.segmenter.click(point, label);
  }

  #box({ detail: { box } }) {
    if (this.isEncoded) this.segmenter.box(box);
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
    on("camera", () => camera.show().catch((error) => this.#complain(error)));
    on("undo", () => this.masks.undo());
    on("redo", () => this.masks.redo());
    on("clear", () => this.masks.clear());
    on("new-object", () => this.newObject());
    on("everything", () => this.everything());
    on("everything-stop", () => this.#stopping?.abort());
    on("help-open", () => byId("help").showModal());
    on("help-close", () => byId("help").close());
    on("alert-close", () => (byId("alert").hidden = true));
    for (const button of document.querySelectorAll("[data-download]")) {
      button.addEventListener("click", () => this.download(button.dataset.download));
    }
    this.masks.addEventListener("change", () => {
      this.preview = null; // the document has something newer to show
      this.#draw();
    });
    navigator.serviceWorker?.addEventListener("message", ({ data }) => {
      if (data === "renewed") this.#note("Another version of this page is here: reload to use it.");
    });
    this.stage.addEventListener("click", (event) => this.#click(event));
    this.stage.addEventListener("box", (event) => this.#box(event));
    this.stage.addEventListener("hover", ({ detail }) => this.#hover(detail.point));
    this.stage.addEventListener("pending", () => this.photo && this.view && this.#drawMarks());
    addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => {
      if (this.painter.layout()) this.#draw();
      else if (this.photo && this.view) this.#drawMarks();
    }).observe(byId("stage"));
  }

  async #sample(address) {
    const response = await fetch(address).catch(() => null);
    if (response?.ok) this.open(await response.blob(), address.split("/").pop());
    else this.#complain(new Error("The sample could not be loaded: check the connection, or open a photo of your own."));
  }

  #key(event) {
    const isTyping = event.target.matches?.("input[type=text], select, textarea") || document.querySelector("dialog[open]");
    if (isTyping || event.altKey || event.defaultPrevented) return;
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey) {
      if (key === "z") event.shiftKey ? this.masks.redo() : this.masks.undo();
      else if (key === "y") this.masks.redo();
      else return;
    } else if (["1", "2", "3"].includes(key)) this.candidates.chooseAt(Number(key) - 1);
    else if (key === "n") this.newObject();
    else if (key === "o") byId("file").click();
    else if (key === "e" && !byId("everything").disabled) this.everything();
    else return;
    event.preventDefault();
  }
}

async function json(path) {
  const response = await fetch(path).catch(() => null);
  if (!response?.ok) throw new Error(`${path} cannot be loaded: check the connection and reload the page.`);
  return response.json();
}

/** Keep the site for use without a network; a page that cannot is none the worse. */
function registerWorker() {
  navigator.serviceWorker?.register("sw.js").catch((error) => console.info(error));
}

globalThis.samedge = new App();
