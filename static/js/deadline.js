// A promise that somebody else settles, with a time by which it has to be.

export class Deadline {
  #timer;
  #timeoutMs;
  #late;
  #resolve;
  #reject;
  /** It has been settled. */
  over = false;

  /**
   * @param {number} timeoutMs
   * @param {() => void} late called when it was not settled in time; has to settle it
   */
  constructor(timeoutMs, late) {
    this.#late = late;
    /** @type {Promise<any>} */
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // A rejection that nobody waits for is no error of the page.
    this.promise.catch(() => {});
    this.extend(timeoutMs);
  }

  /**
   * Begins the time anew.
   *
   * @param {number} [timeoutMs] a new length, as before if missing
   */
  extend(timeoutMs = this.#timeoutMs) {
    if (this.over) return;
    this.#timeoutMs = timeoutMs;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#late, timeoutMs);
  }

  /** @param {any} [value] */
  resolve(value) {
    this.#end();
    this.#resolve(value);
  }

  /** @param {Error} error */
  reject(error) {
    this.#end();
    this.#reject(error);
  }

  #end() {
    this.over = true;
    clearTimeout(this.#timer);
  }
}
