// Where photos come from: a file, a drop, the clipboard, a camera, an address of this site.

const MOST_SHOWN = 2048; // px along the longer side of what is drawn on the screen, at most
const LEAST_SHOWN = 1024;

/**
 * Read a photo.
 *
 * @param {Blob} blob
 * @param {string} name
 * @returns {Promise<{blob: Blob, name: string, size: number[], bitmap: ImageBitmap, shown: ImageBitmap}>}
 *   bitmap has all pixels, shown those that fit a screen.
 * @throws {Error} the browser cannot read it.
 */
export async function readPhoto(blob, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  } catch {
    throw new Error(`${name} is no photo that this browser reads: try JPEG, PNG, WebP or AVIF.`);
  }
  const size = [bitmap.height, bitmap.width];
  const shrink = mostShown() / Math.max(...size);
  const [resizeHeight, resizeWidth] = size.map((length) => Math.max(1, Math.round(length * shrink)));
  const resizeQuality = shrink > 0.5 ? "low" : "medium"; // the better one takes four times as long, and leaves no pixel out below a half
  try {
    const shown = await createImageBitmap(bitmap, shrink < 1 ? { resizeWidth, resizeHeight, resizeQuality } : {});
    return { blob, name, size, bitmap, shown };
  } catch {
    bitmap.close();
    throw new Error(`There is too little memory for ${name}: close other pages, or make it smaller.`);
  }
}

/** No window is larger than the screen, so that no more pixels than its are kept. */
function mostShown() {
  const longer = Math.max(screen.width, screen.height) * devicePixelRatio;
  return Math.min(Math.max(longer, LEAST_SHOWN), MOST_SHOWN);
}

/** Give the memory of a photo back that is not shown. */
export function closePhoto({ bitmap, shown }) {
  bitmap.close(); // does nothing where an engine has it
  shown.close();
}

/** Call `open(blob, name)` for every photo that is dropped on the window or pasted into it. */
export function listen(open) {
  const isPhoto = (item) => item.kind === "file" && (item.type.startsWith("image/") || item.type === "");
  const show = (isOver) => document.body.classList.toggle("dragging", isOver);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    show(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? show(false));
  addEventListener("drop", (event) => {
    event.preventDefault();
    show(false);
    const file = [...event.dataTransfer.items].find(isPhoto)?.getAsFile() ?? event.dataTransfer.files[0];
    if (file) open(file, file.name);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.items ?? [])].find(isPhoto)?.getAsFile();
    if (file) open(file, file.name || "pasted.png");
  });
}

/** A camera in a dialog; phones open their own by a file input instead. */
export class Camera {
  #stream = null;
  #isAsked = false;

  constructor({ dialog, video, take, cancel, fallback }, open) {
    this.dialog = dialog;
    this.video = video;
    this.fallback = fallback;
    take.addEventListener("click", () => {
      const photo = this.#photo();
      dialog.close();
      if (photo) open(photo, "camera.jpg");
    });
    cancel.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => this.#stop());
  }

  async show() {
    const isPhone = matchMedia("(pointer: coarse)").matches;
    if (isPhone || !navigator.mediaDevices?.getUserMedia) {
      this.fallback.click();
      return;
    }
    if (this.#isAsked || this.dialog.open) return;
    this.#isAsked = true;
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
    } catch (error) {
      throw new Error(error?.name === "NotAllowedError"
        ? "The camera was not allowed: allow it in the browser's settings for this page, or open a photo."
        : "There is no camera that can be used: open a photo instead.");
    } finally {
      this.#isAsked = false;
    }
    this.video.srcObject = this.#stream;
    this.dialog.showModal();
    await this.video.play();
  }

  /** A promise of what the camera shows now; nothing where it shows nothing yet. */
  #photo() {
    const { videoWidth: width, videoHeight: height } = this.video;
    if (!width) return null;
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    return canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  }

  #stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
    this.#stream = null;
  }
}
