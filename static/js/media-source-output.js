// MP3 while it arrives, through MediaSource, with a bounded lead.

import { MediaElementOutput } from "./media-element-output.js";

const TYPE = "audio/mpeg";
const START_MS = 150;
const GROW_MS = 100;
const MAX_START_MS = 1000;
/** Browsers keep some MB per buffer; beyond this lead the rest waits outside of it. */
const LEAD_S = 60;
const KEEP_BEHIND_S = 30;
const APPEND_BYTES = 1 << 18;
const LEAST_APPEND_BYTES = 1 << 10;

export class MediaSourceOutput extends MediaElementOutput {
  path = "media-source";
  #source = new MediaSource();
  /** @type {SourceBuffer | null} */
  #buffer = null;
  /** @type {ArrayBuffer[]} */
  #queue = [];
  #appendBytes = APPEND_BYTES;
  #complete = false;
  #due = true;
  /** holding: waits for the margin; starting: the element was told to play; playing: it does */
  #phase = "holding";
  #startMs = START_MS;
  #dryMs = null;
  #minBufferedS = Infinity;
  #underruns = 0;
  #underrunMs = 0;
  #pauses = 0;

  /**
   * @param {{format: string}} stream
   * @returns {boolean}
   */
  static plays({ format }) {
    return format === "mp3" && Boolean(globalThis.MediaSource?.isTypeSupported(TYPE));
  }

  /** @param {{emit: Function}} options */
  constructor({ emit }) {
    super({ emit });
    this.#source.onsourceopen = () => {
      if (this.over || this.#buffer) return;
      this.#buffer = this.#source.addSourceBuffer(TYPE);
      this.#buffer.onupdateend = () => this.#feed();
      this.#feed();
    };
    this.audio.onwaiting = () => this.#ranDry();
    this.audio.ontimeupdate = () => this.#feed();
    this.open(this.#source);
    this.unlock();
  }

  push(chunk) {
    this.#queue.push(chunk);
    this.#due = true;
    this.#feed();
  }

  rest() {
    this.#due = false;
    this.#feed();
  }

  finish() {
    this.#complete = true;
    this.#due = false;
    this.#feed();
  }

  stats() {
    return {
      ...super.stats(),
      minBufferedMs: this.#minBufferedS === Infinity ? null : 1000 * this.#minBufferedS,
      underruns: this.#underruns,
      underrunMs: this.#underrunMs,
      pauses: this.#pauses,
      startMs: this.#startMs,
    };
  }

  playing() {
    if (this.#phase === "holding") return;
    this.#phase = "playing";
    if (this.#dryMs !== null) this.#underrunMs += performance.now() - this.#dryMs;
    this.#dryMs = null;
    super.playing();
  }

  #ranDry() {
    // An element that starts waits as well, and so does one that has reached the end.
    if (this.over || this.#phase !== "playing") return;
    if (this.#complete && !this.#queue.length) return;
    this.#phase = "holding";
    this.audio.pause();
    if (!this.#due) {
      this.#pauses += 1;
      return;
    }
    this.#underruns += 1;
    this.#dryMs = performance.now();
    this.#startMs = Math.min(this.#startMs + GROW_MS, MAX_START_MS);
    this.underrun();
  }

  /** Does the one next thing; the end of an update calls it again. */
  #feed() {
    if (this.over || !this.#buffer || this.#buffer.updating) return;
    const leadS = this.bufferedS();
    this.#watchLead(leadS);
    if (this.#evict(KEEP_BEHIND_S + 10, KEEP_BEHIND_S)) return;
    if (this.#queue.length) {
      if (leadS < LEAD_S) this.#append();
    } else if (this.#complete && this.#source.readyState === "open") {
      this.#end();
    }
  }

  #watchLead(leadS) {
    if (this.#due && this.#phase === "playing") {
      this.#minBufferedS = Math.min(this.#minBufferedS, leadS);
    }
    const marginMs = this.#due ? this.#startMs : 1;
    if (this.#phase === "holding" && 1000 * leadS >= marginMs) {
      this.#phase = "starting";
      this.play();
    }
  }

  #append() {
    const count = this.#countForAppend();
    const bytes = concatenate(this.#queue.slice(0, count));
    try {
      this.#buffer.appendBuffer(bytes);
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      // The next timeupdate tries again, when more was heard, and with less.
      this.#appendBytes = Math.max(LEAST_APPEND_BYTES, this.#appendBytes / 2);
      this.#evict(1, 1);
      return;
    }
    this.#queue.splice(0, count);
  }

  #countForAppend() {
    let bytes = 0;
    const over = this.#queue.findIndex((chunk) => (bytes += chunk.byteLength) > this.#appendBytes);
    return over < 0 ? this.#queue.length : Math.max(1, over);
  }

  /** Removes what was heard long ago; true if that is under way. */
  #evict(whenBehindS, keepS) {
    const { buffered, currentTime } = this.audio;
    if (!buffered.length || currentTime - buffered.start(0) <= whenBehindS) return false;
    this.#buffer.remove(0, currentTime - keepS);
    return true;
  }

  #end() {
    const empty = this.audio.buffered.length === 0;
    this.#source.endOfStream();
    if (empty) this.ended();
  }
}

/** @param {ArrayBuffer[]} chunks */
function concatenate(chunks) {
  const bytes = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(new Uint8Array(chunk), at);
    at += chunk.byteLength;
  }
  return bytes;
}
