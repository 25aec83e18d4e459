// One run: text goes in, sound comes out, and everything on the way is measured.

import { AliyunClient } from "./aliyun-client.js";
import { Player } from "./player.js";
import { Recording } from "./recording.js";
import { Subtitles } from "./subtitles.js";
import { Timings } from "./timings.js";

/** @typedef {"connecting" | "speaking" | "stopping" | "done" | "failed"} State */

/**
 * Events, with their `detail`:
 *
 *   state      State
 *   frame      see AliyunClient
 *   text       {piece}: was sent
 *   progress   {done, all}: pieces of a simulated language model
 *   samples    {samples, chunk}: `chunk` is false where the samples are of the whole recording
 *   subtitles  Sentence[]
 */
export class Session extends EventTarget {
  /** @type {State} */
  state = "connecting";
  /** @type {{status?: number, text: string, adviceKey: string} | null} */
  failure = null;
  /** Ended by `stop()`. */
  stopped = false;
  /** ms from `stop()` to silence and to the server's SynthesisCompleted; null if it had ended */
  silentMs = null;
  serverStopMs = null;
  subtitles = new Subtitles();
  #client = new AliyunClient();
  #player = null;
  #timings = new Timings();
  #abort = new AbortController();
  #lastTextMs = null;
  #textComplete = false;
  #stopping = null;
  #firstTextMs = null;

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {string} options.token
   * @param {Record<string, any>} options.parameters payload of StartSynthesis
   * @param {import("./text-sources.js").Source} options.source
   */
  constructor({ url, token, parameters, source }) {
    super();
    this.server = { url, token };
    this.parameters = parameters;
    this.source = source;
    this.stream = { format: parameters.format, sampleRate: parameters.sample_rate };
    this.recording = new Recording(this.stream);
    this.#listen();
  }

  /** It is done or has failed; nothing more happens. */
  get over() {
    return this.state === "done" || this.state === "failed";
  }

  /** Runs to the end. Call it in the handler of a click or a key, for the sake of the player. */
  async run() {
    const opening = this.#openPlayer();
    try {
      this.#mark("connect");
      const connecting = this.#client.connect(this.server).then(() => this.#mark("connected"));
      await Promise.all([opening, connecting]);
      this.#mark("start");
      await this.#client.start(this.parameters);
      this.#become("speaking");
      await this.#sendText();
      if (this.#abort.signal.aborted) return;
      await this.#client.stop();
      if (this.#abort.signal.aborted) return;
      this.#client.close();
      await this.#playToEnd();
      if (!this.#abort.signal.aborted) this.#become("done");
    } catch (error) {
      this.#fail({ adviceKey: "page", text: error.message, ...error });
      if (!error.adviceKey) throw error;
    }
  }

  /** What is heard right now, in seconds of the audio. */
  get positionS() {
    return this.#player?.stats().positionS ?? 0;
  }

  /** Barge-in: silence at once, and the server stops as well. Settles when both have. */
  async stop() {
    if (!this.over) this.#stopping ??= this.#stop();
    await this.#stopping;
  }

  async #stop() {
    this.stopped = true;
    this.#become("stopping");
    this.#abort.abort();
    const beganMs = performance.now();
    const silent = this.#player?.stop() ?? null;
    this.serverStopMs = await this.#stopServer(beganMs);
    this.silentMs = await silent;
    this.#become("done");
  }

  /** Asks the server to speak what it holds back. */
  flush() {
    return this.#client.flush();
  }

  /** Everything that was measured, as plain numbers; null where something has not happened. */
  stats() {
    return {
      state: this.state,
      ...this.#timings.numbers(),
      lastTextMs: this.#lastTextMs,
      bytes: this.recording.bytes,
      serverStopMs: this.serverStopMs,
      silentMs: this.silentMs,
      ...(this.#player?.stats() ?? {}),
    };
  }

  #listen() {
    const on = (type, handle) =>
      this.#client.addEventListener(type, ({ detail }) => handle(detail));
    on("frame", (frame) => this.#emit("frame", frame));
    on("started", () => this.#mark("started"));
    on("audio", (chunk) => this.#receive(chunk));
    on("subtitles", (payload) => this.#subtitle("update", payload));
    on("sentence-end", (payload) => {
      this.#subtitle("end", payload);
      // What is still unsaid waits for text, so a pause here is not the stream's fault.
      if (!this.#textComplete) this.#player?.rest();
    });
    on("completed", () => this.#mark("completed"));
    on("failed", (error) => this.#fail(error));
  }

  async #openPlayer() {
    const player = await Player.create(this.stream);
    if (this.over || this.stopped) {
      await player.stop();
      return;
    }
    this.#player = player;
    player.addEventListener("audible", ({ detail }) => this.#mark("audible", detail.atMs));
    player.addEventListener("failed", ({ detail }) => this.#fail(detail));
  }

  async #sendText() {
    const { signal } = this.#abort;
    const send = (piece) => {
      const atMs = performance.now();
      this.#mark("text", atMs);
      this.#firstTextMs ??= atMs;
      this.#lastTextMs = atMs - this.#firstTextMs;
      this.subtitles.append(piece);
      this.#emit("text", { piece });
      return this.#client.run(piece);
    };
    const progress = (done, all) => this.#emit("progress", { done, all });
    const aborted = new Promise((resolve) => signal.addEventListener("abort", resolve));
    await Promise.race([this.source({ send, signal, progress }), aborted]);
    this.#textComplete = true;
  }

  #receive(chunk) {
    const samples = this.recording.push(chunk);
    const audioS = samples ? samples.length / this.recording.sampleRate : 0;
    this.#timings.chunk(performance.now(), audioS);
    this.#player?.push(chunk);
    if (samples) this.#emit("samples", { samples, chunk: true });
  }

  #subtitle(step, payload) {
    this.subtitles[step](payload);
    const sentences = this.subtitles.items();
    const last = sentences.at(-1);
    if (last && !this.recording.readable) this.#timings.setAudioS(last.endMs / 1000);
    this.#emit("subtitles", sentences);
  }

  async #playToEnd() {
    const ended = new Promise((resolve) => {
      this.#player.addEventListener("ended", resolve);
      this.#abort.signal.addEventListener("abort", resolve);
    });
    this.#player.finish();
    if (!this.recording.readable && this.recording.bytes) {
      const samples = await this.recording.decode();
      if (samples) {
        this.#timings.setAudioS(samples.length / this.recording.sampleRate);
        this.#emit("samples", { samples, chunk: false });
      }
    }
    await ended;
  }

  /** @returns {Promise<number | null>} ms from `beganMs`; null if nothing was running */
  async #stopServer(beganMs) {
    const running = ["starting", "running", "stopping"].includes(this.#client.state);
    try {
      if (!running) return null;
      await this.#client.stop({ cancel: true });
      return performance.now() - beganMs;
    } catch (error) {
      if (!error.adviceKey) throw error;
      return null; // It is gone altogether, which is stopped enough.
    } finally {
      this.#client.close();
    }
  }

  /** The first failure counts; after a stop there is none. */
  #fail(failure) {
    if (this.over || this.stopped) return;
    const { status = 0, text, adviceKey } = failure;
    this.failure = { status, text, adviceKey };
    this.#abort.abort();
    this.#client.close();
    this.#player?.stop();
    this.#become("failed");
  }

  #mark(name, atMs = performance.now()) {
    this.#timings.mark(name, atMs);
  }

  #become(state) {
    if (this.over) return;
    this.state = state;
    this.#emit("state", state);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
