// The photo in hand: opened, shown, looked at by the model, and left when all of it is saved.

import { View } from "../modules/frame.js";
import { readPhoto } from "../modules/photos.js";
import { ask, picture } from "./api.js";
import { plural } from "./board.js";

const LAST = "samedge-desk-photo"; // of this tab, which outlives a reload

const byId = (id) => document.getElementById(id);

/** Emits "change" where what may be done is another thing. */
export class Sitting extends EventTarget {
  photo = null; // as the desk gave it
  view = null;
  picture = null;
  status = "open";
  asked = null; // the newest click's answer, a promise
  #history = []; // ids of photos before this one
  #handle = null;
  #isOpen = false; // whether decisions count: not between two photos
  #isReady = false; // whether clicks are answered
  #turn = 0;
  #given = null; // id of the photo that the desk gave last, shown or not

  /** @param {object} parts - board, review, saver, clock, engine, segmenter, stage, painter, manifest, masks. */
  constructor(parts) {
    super();
    Object.assign(this, parts);
  }

  /** Whether decisions about the masks count. */
  get canDecide() {
    return Boolean(this.photo) && this.#isOpen && !this.saver.isLost;
  }

  /** Whether clicks count. */
  get canEdit() {
    return this.canDecide && this.#isReady;
  }

  /** Whether the photo may be finished, or left where its work is lost. */
  get canFinish() {
    return Boolean(this.photo) && this.#isOpen;
  }

  get canGoBack() {
    return this.#history.length > 0;
  }

  /** Open the photo that this tab had before it was loaded again, or the first free one. */
  async begin() {
    const last = remembered();
    const first = () => ask("/next", {});
    await this.#leaving(() => (last ? ask(`/photos/${last}/open`, {}).catch(first) : first()));
  }

  /** Go to the first photo that is open and free. */
  async next() {
    await this.#leaving(async () => {
      const answer = await ask("/next", { after: this.#given });
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
    if (before) await this.#leaving(() => ask(`/photos/${before}/open`, {}));
  }

  /** The browser shows the page again that it had put aside: its photo was given back meanwhile. */
  async again() {
    if (this.photo) await this.go(this.photo.id);
    else await this.next();
  }

  /** Wait until clicks are answered and all is on disk; false where it cannot be. */
  async settle() {
    await this.asked;
    return this.saver.flush();
  }

  /** Leave the photo when all of it is saved, and show what `choose` gives. */
  async #leaving(choose) {
    const turn = ++this.#turn;
    this.#isReady = false;
    this.board.busy("Opening the next photo");
    try {
      await this.settle();
      if (turn !== this.#turn) return;
      this.#isOpen = false; // what is decided from here on would be of no photo
      const { photo, figures } = await choose();
      if (turn !== this.#turn) return;
      this.board.figures(figures);
      this.#given = photo?.id ?? null;
      if (photo) await this.#show(photo, turn);
      else this.#end();
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#isOpen = Boolean(this.photo);
      this.#isReady = Boolean(this.#handle && this.photo);
      this.board.complain(error);
    } finally {
      if (turn === this.#turn) this.board.busy(null);
      this.#changed();
    }
  }

  #end() {
    this.saver.photo = this.photo = null;
    remember("");
    this.board.ended();
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
    this.view = new View(this.manifest.frame, shown.size);
    this.painter.show(shown.shown, this.view, this.manifest.thresholds.mask);
    this.#lay(photo);
    this.#begin(photo);
    if (photo.notes.length) this.board.complain(photo.notes.join(" "));
    else this.board.calm();
    await this.#encode(shown, turn);
    if (turn === this.#turn && !photo.has_proposals && !photo.masks.length) await this.askModel();
  }

  /** Make room for a photo on the page. */
  #lay(photo) {
    byId("work").removeAttribute("data-empty");
    byId("finished").hidden = true;
    byId("stage").hidden = false;
    byId("stage").tabIndex = 0;
    byId("stage").setAttribute("aria-label", `${photo.name}, ${photo.width} by ${photo.height} pixels`);
    document.title = `${photo.name} - samedge`;
    this.painter.layout();
  }

  /** Take over a photo's masks as the desk has them. */
  #begin(photo) {
    this.photo = photo;
    this.status = photo.status;
    this.masks.clear();
    this.#isOpen = false;
    this.review.begin(photo.masks, this.view);
    this.clock.start(photo.seconds);
    this.saver.begin(photo, this.review.objects, { view: this.view, threshold: this.manifest.thresholds.mask, seconds: () => this.clock.seconds });
    this.#isOpen = true;
    this.review.select(this.review.undecided[0]?.id ?? null);
    byId("stage").focus({ preventScroll: true, focusVisible: false });
    document.documentElement.dataset.photo = photo.id;
    remember(photo.id);
    this.board.announce(`${photo.name}. ${plural(this.review.undecided.length, "mask")} to decide about.`);
  }

  async #encode(shown, turn) {
    this.board.busy("Looking at the photo");
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
    this.board.busy("Asking the model for masks");
    this.#changed();
    try {
      await this.settle();
      if (turn !== this.#turn) return;
      this.#isOpen = false; // the answer takes the place of what is here
      const { photo, figures } = await ask(`/photos/${this.photo.id}/proposals`, {});
      if (turn !== this.#turn) return;
      this.board.figures(figures);
      this.#begin({ ...photo, seconds: this.clock.seconds });
      if (!photo.masks.length) this.board.announce("The model found nothing: click on things to draw them.");
    } catch (error) {
      if (turn === this.#turn) this.board.complain(error);
    } finally {
      if (turn === this.#turn) {
        this.#isOpen = this.#isReady = true;
        this.board.busy(null);
        this.#changed();
      }
    }
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

function remembered() {
  try {
    return sessionStorage.getItem(LAST);
  } catch {
    return null; // the browser keeps nothing
  }
}

function remember(id) {
  try {
    sessionStorage.setItem(LAST, id);
  } catch {
    // only a reload shows it
  }
}
