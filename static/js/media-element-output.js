// What playing through an audio element has in common, whatever feeds it.

const POSITION_MS = 100;

export class MediaElementOutput {
  #emit;
  #url = "";
  #positionTimer = null;
  #heard = false;
  #over = false;

  /** @param {{emit: (type: string, detail?: object) => void}} options */
  constructor({ emit }) {
    this.#emit = emit;
    this.audio = new Audio();
    this.audio.onplaying = () => this.playing();
    this.audio.onended = () => this.ended();
    this.audio.onerror = () => {
      const text = this.audio.error?.message || "the browser cannot decode this audio";
      this.fail("undecodable", text);
    };
  }

  /** Nothing more will be heard. */
  get over() {
    return this.#over;
  }

  rest() {}

  /** @param {Blob | MediaSource} source is opened; `play` plays it */
  open(source) {
    this.#url = URL.createObjectURL(source);
    this.audio.src = this.#url;
  }

  /** Within the click: some browsers then let the element be played later. */
  unlock() {
    // It is refused or interrupted; the `play` that counts tells what is wrong.
    this.audio.play().catch(() => {});
    this.audio.pause();
  }

  async play() {
    try {
      await this.audio.play();
    } catch (error) {
      // AbortError: paused or stopped before it began. Decoding errors come as an event.
      if (error.name === "NotAllowedError") this.fail("autoplay", error.message);
    }
  }

  async stop() {
    if (this.#over) return 0;
    const calledMs = performance.now();
    this.#close();
    return performance.now() - calledMs;
  }

  /** @returns {import("./player.js").PlayerStats} */
  stats() {
    const positionS = this.audio.currentTime;
    return {
      path: this.path,
      playedS: positionS,
      positionS,
      bufferedMs: 1000 * Math.max(0, this.bufferedS()),
      minBufferedMs: null,
      underruns: 0,
      underrunMs: 0,
      pauses: 0,
      droppedMs: 0,
      startMs: 0,
    };
  }

  /** Audio that is ready beyond the position. */
  bufferedS() {
    const { buffered, currentTime } = this.audio;
    return buffered.length ? buffered.end(buffered.length - 1) - currentTime : 0;
  }

  playing() {
    if (this.#over) return;
    if (!this.#heard) this.#emit("audible", { atMs: performance.now() });
    this.#heard = true;
    this.#positionTimer ??= setInterval(() => this.#tellPosition(), POSITION_MS);
  }

  ended() {
    if (this.#over) return;
    this.#tellPosition();
    this.#close();
    this.#emit("ended");
  }

  fail(adviceKey, text) {
    if (this.#over) return;
    this.#close();
    this.#emit("failed", { adviceKey, text });
  }

  underrun() {
    this.#emit("underrun", { atMs: performance.now() });
  }

  #tellPosition() {
    this.#emit("position", { positionS: this.audio.currentTime });
  }

  #close() {
    this.#over = true;
    clearInterval(this.#positionTimer);
    // The element stays as it is, so that the last position can still be read.
    this.audio.pause();
    if (this.#url) URL.revokeObjectURL(this.#url);
  }
}
