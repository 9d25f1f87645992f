// The masks on the stage: how strongly each is filled, and which lies under a place.

const FILLS = { proposed: 0.2, accepted: 0.34 };
const ASIDE_FILL = 0.06; // of what is undecided while another mask is looked at
const ACTIVE_FILL = 0.42;

export class Layers {
  /**
   * @param {Painter} painter
   * @param {Review} review
   */
  constructor(painter, review) {
    this.painter = painter;
    this.review = review;
  }

  draw() {
    this.painter.drawMasks(this.#drawn(), { active: this.review.active });
  }

  /** Of the photo, 0 to 1. */
  shareOf(object) {
    return object.result ? this.painter.painted(object.result, object.colour).share : 0;
  }

  /** The smallest mask under a place that is not rejected; the active one last. */
  objectAt([x, y]) {
    const { width, height } = this.painter.layers.masks;
    const [photoHigh, photoWide] = this.painter.view.size;
    const [right, down] = [Math.floor((x / photoWide) * width), Math.floor((y / photoHigh) * height)];
    const under = this.#drawn().filter((object) => {
      const painted = this.painter.painted(object.result, object.colour);
      if (!painted.canvas) return false;
      return painted.canvas.getContext("2d").getImageData(right - painted.x, down - painted.y, 1, 1).data[3] > 0;
    });
    return under.sort((a, b) => this.#isActive(a) - this.#isActive(b) || this.shareOf(a) - this.shareOf(b))[0] ?? null;
  }

  #isActive({ id }) {
    return id === this.review.active?.id;
  }

  /** What is to be seen, the active mask on top. */
  #drawn() {
    const { active, objects } = this.review;
    const fillOf = (object) => {
      if (this.#isActive(object)) return ACTIVE_FILL;
      return active && object.decision === "proposed" ? ASIDE_FILL : FILLS[object.decision];
    };
    return objects.filter((object) => object.result && (object.decision !== "rejected" || this.#isActive(object)))
      .map((object) => ({ ...object, fill: fillOf(object) }))
      .sort((a, b) => this.#isActive(a) - this.#isActive(b));
  }
}
