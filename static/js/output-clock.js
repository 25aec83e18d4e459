// When what the audio clock counts is heard, in the page's time.

/** Of `getOutputTimestamp`: older ones, and such from the future, are wrong. */
const TIMESTAMP_AGE_MS = 500;

export class OutputClock {
  #context;

  /** @param {AudioContext} context */
  constructor(context) {
    this.#context = context;
  }

  /** The browser knows by now how late the loudspeaker is. */
  get exact() {
    return this.#timestamp() !== null;
  }

  /**
   * @param {number} atS time of the audio clock
   * @returns {number} ms of performance.now() at which audio of that time is heard
   */
  wallMs(atS) {
    const stamp = this.#timestamp();
    if (stamp) return stamp.performanceTime + 1000 * (atS - stamp.contextTime);
    const latencyS = this.#context.outputLatency || this.#context.baseLatency || 0;
    return performance.now() + 1000 * (atS + latencyS - this.#context.currentTime);
  }

  /** At first Chromium gives the time at which the page was opened. */
  #timestamp() {
    const stamp = this.#context.getOutputTimestamp?.();
    if (!stamp) return null;
    const ageMs = Math.abs(performance.now() - stamp.performanceTime);
    return ageMs < TIMESTAMP_AGE_MS ? stamp : null;
  }
}
