// What the browser keeps for the next visit. It may refuse (private windows, blocked cookies);
// then every visit is the first.

const PREFIX = "cosystream.";

/** Keeps values under names of ours, as JSON. */
export class Memory {
  /** @param {() => Storage} storage asked each time, because asking may already be refused */
  constructor(storage = () => localStorage) {
    this.storage = storage;
  }

  /**
   * @template T
   * @param {string} name
   * @param {T} fallback
   * @returns {T} also the fallback when what is kept cannot be read
   */
  read(name, fallback) {
    try {
      const kept = this.storage().getItem(PREFIX + name);
      return kept === null ? fallback : JSON.parse(kept);
    } catch {
      return fallback;
    }
  }

  /**
   * @param {string} name
   * @param {unknown} value
   */
  write(name, value) {
    try {
      this.storage().setItem(PREFIX + name, JSON.stringify(value));
    } catch {
      // Refused, or full: nothing that the user does depends on it.
    }
  }
}
