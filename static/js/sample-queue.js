// Samples in the order in which they came, in pieces of any size.

/** Played pieces are forgotten in groups: shifting an array at every piece would be slow. */
const FORGET_AT = 256;

export class SampleQueue {
  #pieces = [];
  #head = 0;
  #offset = 0;
  /** Samples in it. */
  length = 0;

  /** @param {Float32Array} samples are kept, not copied */
  push(samples) {
    if (samples.length === 0) return;
    this.#pieces.push(samples);
    this.length += samples.length;
  }

  /** @param {Float32Array} samples come before all others */
  unshift(samples) {
    const rest = this.#pieces.slice(this.#head);
    if (rest.length) rest[0] = rest[0].subarray(this.#offset);
    this.#pieces = [samples, ...rest];
    this.#head = 0;
    this.#offset = 0;
    this.length += samples.length;
  }

  /**
   * Moves the first samples to the beginning of `out`.
   *
   * @param {Float32Array} out
   * @param {number} count at most `length` and the length of `out`
   */
  read(out, count) {
    this.#advance(count, (part, at) => out.set(part, at));
  }

  /** @param {number} count at most `length` */
  skip(count) {
    this.#advance(count, () => {});
  }

  #advance(count, take) {
    this.length -= count;
    for (let at = 0; at < count; ) {
      const piece = this.#pieces[this.#head];
      const end = Math.min(piece.length, this.#offset + count - at);
      take(piece.subarray(this.#offset, end), at);
      at += end - this.#offset;
      this.#offset = end;
      if (end === piece.length) this.#next();
    }
  }

  #next() {
    this.#pieces[this.#head] = null;
    this.#head += 1;
    this.#offset = 0;
    if (this.#head >= FORGET_AT && 2 * this.#head >= this.#pieces.length) {
      this.#pieces.splice(0, this.#head);
      this.#head = 0;
    }
  }
}
