// Which part of a recording is seen; all in samples, nothing of the screen.

const LEAST = 40;

export class WaveformView {
  begin = 0;
  #length = 0;
  /** The whole recording is seen, however long it gets. */
  fitted = true;

  /** @param {number} least samples that are seen before there are so many */
  constructor(least) {
    this.least = least;
  }

  /** Samples that are seen. */
  get length() {
    return this.fitted ? Math.max(this.total, this.least) : this.#length;
  }

  total = 0;

  /** Shows everything. */
  fit() {
    this.fitted = true;
    this.begin = 0;
  }

  /**
   * @param {number} begin
   * @param {number} length
   */
  show(begin, length) {
    const whole = Math.max(this.total, this.least);
    if (length >= whole) return this.fit();
    this.#length = Math.max(LEAST, length);
    this.fitted = false;
    this.begin = Math.max(0, Math.min(begin, whole - this.#length));
  }

  /**
   * @param {number} factor above 1: closer
   * @param {number} at the sample that stays in its place
   */
  zoom(factor, at) {
    const length = Math.max(LEAST, this.length / factor);
    const share = (at - this.begin) / this.length;
    this.show(at - share * length, length);
  }

  /** @param {number} samples to the right */
  pan(samples) {
    if (!this.fitted) this.show(this.begin + samples, this.#length);
  }

  /** @param {number} sample is brought into view, with a page's turn */
  follow(sample) {
    if (this.fitted || (sample >= this.begin && sample < this.begin + this.#length)) return;
    this.show(sample - 0.05 * this.#length, this.#length);
  }
}
