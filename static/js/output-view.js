// What is heard and seen of a run: state, failure, waveform, text, numbers, files.

import { download } from "./clipboard.js";
import { byId } from "./dom.js";
import { explain } from "./errors.js";
import { srt, vtt } from "./files.js";
import { Numbers } from "./numbers.js";
import { ReadAlong } from "./read-along.js";
import { Waveform } from "./waveform.js";

const NUMBERS_MS = 100;

export class OutputView {
  /** @type {import("./session.js").Session | null} */
  #session = null;
  #said = () => "";
  #failure = null;
  #join = null;
  #numbersMs = 0;

  /** @param {import("./i18n.js").I18n} i18n */
  constructor(i18n) {
    this.i18n = i18n;
    this.waveform = new Waveform(byId("waveform"));
    this.readAlong = new ReadAlong(byId("read-along"));
    this.numbers = new Numbers(byId("numbers"), i18n);
    this.recording = byId("recording");
    this.#connectWaveform();
    byId("download-audio").addEventListener("click", () => this.#saveAudio());
    byId("download-srt").addEventListener("click", () => this.#saveSubtitles(srt, "srt"));
    byId("download-vtt").addEventListener("click", () => this.#saveSubtitles(vtt, "vtt"));
    this.recording.addEventListener("play", () => this.#follow());
    this.recording.addEventListener("seeked", () => this.#position(this.recording.currentTime));
    i18n.addEventListener("change", () => this.#words());
    this.say("status.idle");
    this.numbers.reset();
    this.#words();
  }

  /** @param {import("./session.js").Session} session has not run yet */
  begin(session) {
    this.#session = session;
    const own =
      (handle) =>
      ({ detail }) => {
        if (session === this.#session) handle(detail);
      };
    session.addEventListener(
      "state",
      own(() => this.#state()),
    );
    session.addEventListener(
      "text",
      own(({ piece }) => this.readAlong.append(piece)),
    );
    session.addEventListener(
      "samples",
      own(({ samples, chunk }) => this.waveform.push(samples, chunk)),
    );
    session.addEventListener(
      "subtitles",
      own((sentences) => this.readAlong.update(sentences)),
    );
    this.showFailure(null);
    this.#join = null;
    this.readAlong.reset();
    this.numbers.reset();
    this.waveform.reset(session.stream.sampleRate);
    this.#offerFiles();
    this.#state();
    this.#follow();
  }

  /** The colours have changed. */
  redraw() {
    this.waveform.draw();
    this.numbers.sparkline.draw();
  }

  /**
   * @param {string} key of a message, or a function that makes the words
   * @param {Record<string, unknown>} [values]
   */
  say(key, values) {
    this.#said = typeof key === "function" ? key : () => this.i18n.t(key, values);
    // Only what is new is read out.
    const words = this.#said();
    if (byId("status").textContent !== words) byId("status").textContent = words;
  }

  /** @param {import("./errors.js").Failure | null} failure */
  showFailure(failure) {
    this.#failure = failure;
    byId("failure").hidden = !failure;
    if (!failure) return;
    const { title, code, text, advice } = explain(failure, this.i18n);
    byId("failure-title").textContent = title;
    byId("failure-code").textContent = code;
    byId("failure-text").textContent = text;
    byId("failure-advice").textContent = advice;
  }

  #state() {
    const session = this.#session;
    document.documentElement.dataset.state = session.state;
    if (session.state === "failed") this.showFailure(session.failure);
    if (session.over) {
      this.#offerFiles();
      this.#frame(true);
    }
    this.say(() => this.#sentence());
  }

  /** The state in words, with the one number that matters then. */
  #sentence() {
    const { state, stopped } = this.#session;
    const { firstAudibleMs, silentMs, serverStopMs, audioS, chunks } = this.#session.stats();
    const n = (value, digits) => this.i18n.number(value ?? 0, digits);
    if (state === "speaking" && firstAudibleMs !== null) {
      return this.i18n.t("status.audible", { ms: n(firstAudibleMs) });
    }
    if (state !== "done") return this.i18n.t(`status.${state}`);
    if (stopped && !chunks) return this.i18n.t("status.stopped.early");
    if (stopped && serverStopMs !== null) {
      return this.i18n.t("status.stopped", { silent: n(silentMs), server: n(serverStopMs) });
    }
    if (stopped) return this.i18n.t("status.silenced", { silent: n(silentMs) });
    return this.i18n.t(chunks ? "status.done" : "status.nothing", { s: n(audioS, 1) });
  }

  /** Draws as long as something plays. */
  #follow() {
    const playing = !this.recording.paused;
    if (playing) this.#position(this.recording.currentTime);
    else if (this.#session && !this.#session.over) this.#frame(false);
    else return;
    requestAnimationFrame(() => this.#follow());
  }

  #frame(final) {
    this.#position(this.#session.positionS);
    const nowMs = performance.now();
    if (!final && nowMs - this.#numbersMs < NUMBERS_MS) return;
    this.#numbersMs = nowMs;
    const stats = this.#session.stats();
    this.numbers.update(stats);
    if (stats.firstAudibleMs !== null && !final) this.numbers.sparkline.push(stats.bufferedMs);
    if (stats.path) {
      const ms = this.i18n.number(stats.startMs);
      byId("path").textContent = this.i18n.t(`path.${stats.path}`, { ms });
    }
    if (!this.#session.over) this.say(this.#said);
  }

  #position(positionS) {
    this.waveform.heard(positionS);
    if (positionS > 0) this.readAlong.at(1000 * positionS);
  }

  #offerFiles() {
    const { recording, over, subtitles } = this.#session;
    const there = over && recording.bytes > 0;
    const { blob, extension } = there
      ? recording.file()
      : { blob: null, extension: recording.format === "pcm" ? "wav" : recording.format };
    byId("download-audio").textContent = extension.toUpperCase();
    byId("download-audio").disabled = !there;
    const none = !over || !subtitles.items().length;
    byId("download-srt").disabled = byId("download-vtt").disabled = none;
    URL.revokeObjectURL(this.recording.src);
    this.recording.hidden = !there;
    this.recording.pause();
    if (there) this.recording.src = URL.createObjectURL(blob);
    else this.recording.removeAttribute("src");
  }

  #saveAudio() {
    const { blob, extension } = this.#session.recording.file();
    download(blob, `speech.${extension}`);
  }

  #saveSubtitles(write, extension) {
    const type = extension === "vtt" ? "text/vtt" : "application/x-subrip";
    download(new Blob([write(this.#session.subtitles.items())], { type }), `speech.${extension}`);
  }

  #connectWaveform() {
    const { waveform } = this;
    byId("zoom-in").addEventListener("click", () => this.#zoom(() => waveform.zoom(2)));
    byId("zoom-out").addEventListener("click", () => this.#zoom(() => waveform.zoom(0.5)));
    byId("zoom-fit").addEventListener("click", () => this.#zoom(() => waveform.fit()));
    byId("zoom-join").addEventListener("click", () => {
      this.#join = waveform.nextJoin();
      this.#hint();
    });
    waveform.addEventListener("change", () => this.#hint());
    waveform.addEventListener("seek", ({ detail }) => {
      if (!this.recording.hidden) this.recording.currentTime = detail.positionS;
    });
  }

  #zoom(change) {
    this.#join = null;
    change();
  }

  #hint() {
    const { i18n } = this;
    const all = this.waveform.joins;
    byId("zoom-join").disabled = all === 0;
    byId("waveform-hint").textContent = this.#join
      ? i18n.t("waveform.steps", {
          n: i18n.number(this.#join.number),
          all: i18n.number(all),
          s: i18n.number(this.#join.atS, 3),
          step: i18n.number(100 * this.#join.step, 2),
          beside: i18n.number(100 * this.#join.beside, 2),
        })
      : this.#waveformWords(all);
  }

  #waveformWords(joins) {
    if (joins) return this.i18n.t("waveform.joins", { n: this.i18n.number(joins) });
    const coded = this.#session && !this.#session.recording.readable;
    const state = this.waveform.empty ? "late" : "decoded";
    return this.i18n.t(`waveform.${coded ? state : "empty"}`);
  }

  #words() {
    byId("read-along").dataset.empty = this.i18n.t("read.empty");
    byId("path").textContent = "";
    this.say(this.#said);
    this.showFailure(this.#failure);
    this.#hint();
    if (this.#session) this.#frame(true);
  }
}
