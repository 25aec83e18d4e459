// PCM and WAV to the loudspeaker through Web Audio, live.

import { JitterEngine } from "./jitter-engine.js";
import { OutputClock } from "./output-clock.js";
import { WavError, WavReader } from "./wav.js";

const WORKLET = new URL("./jitter-worklet.js", import.meta.url);
/** Samples per call where there is no AudioWorklet; smaller blocks stutter on the main thread. */
const SCRIPT_BLOCK = 2048;
const FADE_S = 0.01;
const SILENCE_TIMEOUT_MS = 300;
const CLOCK_TIMEOUT_MS = 3000;
/** After that much sound the browser will not say any more how late it is heard. */
const LATENCY_KNOWN_S = 0.4;

export class WebAudioOutput {
  #emit;
  #context;
  #clock;
  #ownsContext;
  #sampleRate;
  #wav;
  #node = null;
  #gain = null;
  #send = null;
  #report = { atS: 0, audible: false, stats: emptyStats() };
  #positionS = 0;
  #pushedMs = null;
  #audibleS = null;
  #heard = false;
  #state = "open"; // "open" | "over"
  #onSilent = null;
  #watch = null;

  /**
   * @param {{format: string}} stream
   * @returns {boolean}
   */
  static plays({ format }) {
    return (format === "pcm" || format === "wav") && "AudioContext" in globalThis;
  }

  /**
   * @param {object} options as of Player.create, and `emit(type, detail)`
   * @returns {Promise<WebAudioOutput>}
   */
  static async open(options) {
    const output = new WebAudioOutput(options);
    await output.#connect(options.jitter);
    return output;
  }

  constructor({ format, sampleRate, audioContext, emit }) {
    this.#emit = emit;
    this.#sampleRate = sampleRate;
    this.#wav = format === "wav" ? new WavReader() : null;
    this.#ownsContext = !audioContext;
    this.#context = audioContext ?? newContext(sampleRate);
    this.#clock = new OutputClock(this.#context);
    // Without a click this waits for one; the watch below tells.
    this.#context.resume().catch(() => {});
  }

  async #connect(jitter) {
    const context = this.#context;
    const receive = (message) => this.#receive(message);
    // Browsers have worklets on https and localhost only; plain http in a local network has none.
    if (context.audioWorklet) {
      this.path = "worklet";
      await context.audioWorklet.addModule(WORKLET);
      this.#node = new AudioWorkletNode(context, "jitter", {
        numberOfInputs: 0,
        outputChannelCount: [1],
        processorOptions: jitter,
      });
      this.#node.port.onmessage = ({ data }) => receive(data);
      this.#send = (message, transfer) => this.#node.port.postMessage(message, transfer);
    } else {
      this.path = "script-processor";
      const { sampleRate } = context;
      const engine = new JitterEngine({ sampleRate, post: receive, jitter });
      this.#node = context.createScriptProcessor(SCRIPT_BLOCK, 0, 1);
      this.#node.onaudioprocess = ({ outputBuffer, playbackTime }) =>
        engine.process(outputBuffer.getChannelData(0), playbackTime);
      this.#send = (message) => engine.receive(message);
    }
    this.#gain = context.createGain();
    this.#node.connect(this.#gain).connect(context.destination);
  }

  push(chunk) {
    if (this.#state === "over") return;
    let data = chunk;
    if (this.#wav) {
      try {
        data = this.#wav.push(chunk);
      } catch (error) {
        if (!(error instanceof WavError)) throw error;
        this.#fail("undecodable", error.message);
        return;
      }
    }
    if (data.byteLength === 0) return;
    this.#pushedMs ??= performance.now();
    this.#watch ??= this.#watchClock();
    // Transferring would take the bytes away from the caller.
    data = data.slice(0);
    const sampleRate = this.#wav?.sampleRate ?? this.#sampleRate;
    this.#send({ type: "audio", data, sampleRate }, [data]);
  }

  rest() {
    if (this.#state === "open") this.#send({ type: "rest" });
  }

  finish() {
    if (this.#state === "open") this.#send({ type: "end" });
  }

  async stop() {
    if (this.#state === "over") return 0;
    this.#tellAudible({ atOnce: true });
    const calledMs = performance.now();
    const silentMs = await new Promise((resolve) => {
      this.#onSilent = resolve;
      this.#send({ type: "clear" });
      if (this.path === "script-processor") resolve(this.#fadeOut());
      // A context that does not run (no click yet) answers nothing, and is silent already.
      setTimeout(() => resolve(performance.now()), SILENCE_TIMEOUT_MS);
    });
    this.#close();
    return Math.max(0, silentMs - calledMs);
  }

  /** Silence ahead of the blocks that a ScriptProcessor has under way, a quarter of a second. */
  async #fadeOut() {
    const endS = this.#context.currentTime + FADE_S;
    this.#gain.gain.setValueAtTime(1, this.#context.currentTime);
    this.#gain.gain.linearRampToValueAtTime(0, endS);
    await new Promise((resolve) => setTimeout(resolve, 2000 * FADE_S));
    return this.#clock.wallMs(endS);
  }

  stats() {
    return { path: this.path, ...this.#report.stats, positionS: this.#position() };
  }

  #receive({ type, atS, stats }) {
    if (this.#state === "over") return;
    if (stats) this.#report = { atS, stats, audible: this.#report.audible };
    switch (type) {
      case "audible":
        this.#report.audible = true;
        this.#audibleS ??= atS;
        this.#tellAudible();
        break;
      case "starved":
        this.#report.audible = false;
        this.#tellAudible({ atOnce: true });
        this.#emit("underrun", { atMs: this.#clock.wallMs(atS) });
        break;
      case "stats":
        this.#tellAudible();
        this.#emit("position", { positionS: this.#position() });
        break;
      case "ended":
        this.#tellAudible({ atOnce: true });
        // The last block is still on its way to the loudspeaker.
        setTimeout(() => this.#ended(), Math.max(0, this.#clock.wallMs(atS) - performance.now()));
        break;
      case "silent":
        this.#onSilent?.(this.#clock.wallMs(atS));
        break;
      default:
        throw new TypeError(`no such message: ${type}`);
    }
  }

  /** The first sound is dated exactly, once the browser knows the delay of the loudspeaker. */
  #tellAudible({ atOnce = false } = {}) {
    const beganS = this.#audibleS;
    if (this.#heard || beganS === null) return;
    const late = this.#context.currentTime - beganS > LATENCY_KNOWN_S;
    if (!this.#clock.exact && !late && !atOnce) return;
    this.#heard = true;
    this.#emit("audible", { atMs: Math.max(this.#pushedMs, this.#clock.wallMs(beganS)) });
  }

  #ended() {
    if (this.#state === "over") return;
    this.#positionS = this.#report.stats.playedS;
    this.#close();
    this.#emit("position", { positionS: this.#positionS });
    this.#emit("ended");
  }

  #fail(adviceKey, text) {
    if (this.#state === "over") return;
    this.#close();
    this.#emit("failed", { adviceKey, text });
  }

  #close() {
    this.#position();
    this.#state = "over";
    clearTimeout(this.#watch);
    this.#gain.disconnect();
    if (this.#ownsContext) this.#context.close().catch(() => {});
  }

  #position() {
    const { atS, audible, stats } = this.#report;
    if (this.#state === "open") {
      const sinceS = (performance.now() - this.#clock.wallMs(atS)) / 1000;
      const aheadS = audible ? stats.bufferedMs / 1000 : 0;
      const positionS = stats.playedS + Math.min(sinceS, aheadS);
      this.#positionS = Math.max(this.#positionS, positionS);
    }
    return this.#positionS;
  }

  #watchClock() {
    const beginS = this.#context.currentTime;
    return setTimeout(() => {
      if (this.#context.currentTime > beginS) return;
      const { state } = this.#context;
      const adviceKey = state === "suspended" ? "autoplay" : "no-device";
      this.#fail(adviceKey, `the audio clock stands (${state})`);
    }, CLOCK_TIMEOUT_MS);
  }
}

function newContext(sampleRate) {
  try {
    return new AudioContext({ sampleRate, latencyHint: "interactive" });
  } catch (error) {
    if (error.name !== "NotSupportedError") throw error;
    return new AudioContext({ latencyHint: "interactive" });
  }
}

function emptyStats() {
  return {
    bufferedMs: 0,
    minBufferedMs: null,
    underruns: 0,
    underrunMs: 0,
    pauses: 0,
    playedS: 0,
    droppedMs: 0,
    startMs: 0,
  };
}
