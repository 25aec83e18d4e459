// A sentence to hear a voice by.

import { previewText } from "./samples.js";

/** A sentence in the chosen voice, from the HTTP endpoint, beside whatever else is heard. */
export class VoicePreview {
  #abort = null;
  #audio = null;

  /**
   * @param {HTMLButtonElement} button
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(button, i18n) {
    this.button = button;
    this.i18n = i18n;
  }

  get playing() {
    return this.#abort !== null;
  }

  /**
   * @param {{server: import("./server.js").Server, voice: string, language: string}} request
   * @returns {Promise<void>} after the last word, or after `stop`
   * @throws {import("./server.js").ServerError}
   */
  async play({ server, voice, language }) {
    this.stop();
    const abort = new AbortController();
    this.#abort = abort;
    this.#show();
    try {
      const body = { text: previewText(language), voice, format: "mp3", sample_rate: 24000 };
      const blob = await server.speech(body, abort.signal);
      if (!abort.signal.aborted) await this.#hear(blob, abort.signal);
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    } finally {
      if (this.#abort === abort) this.stop();
    }
  }

  stop() {
    this.#abort?.abort();
    this.#audio?.pause();
    this.#abort = this.#audio = null;
    this.#show();
  }

  async #hear(blob, signal) {
    const audio = new Audio(URL.createObjectURL(blob));
    this.#audio = audio;
    await audio.play();
    await new Promise((resolve) => {
      audio.onended = audio.onerror = resolve;
      signal.addEventListener("abort", resolve);
    });
    URL.revokeObjectURL(audio.src);
  }

  #show() {
    this.button.dataset.i18n = this.playing ? "voice.preview.stop" : "voice.preview";
    this.button.textContent = this.i18n.t(this.button.dataset.i18n);
  }
}
