// Where the text comes from: the field, a simulated language model, or somebody who types.

import { byId, element } from "./dom.js";
import { SAMPLES } from "./samples.js";
import { TypedText, simulatedLlm, wholeText } from "./text-sources.js";

/**
 * The input card. Fires `begin` when the first typed piece wants a task, and `flush` when what was
 * typed is to be spoken now.
 */
export class TextInput extends EventTarget {
  #typed = null;
  #pauseTimer = 0;

  /**
   * @param {import("./form.js").Form} form
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(form, i18n) {
    super();
    this.form = form;
    this.i18n = i18n;
    this.field = byId("text");
    this.typing = byId("typing");
    this.#offerSamples();
    form.addEventListener("change", () => this.#show());
    i18n.addEventListener("change", () => this.#show());
    this.typing.addEventListener("input", () => this.#awaitPause());
    this.typing.addEventListener("keydown", (event) => this.#key(event));
    byId("flush").addEventListener("click", () => this.#flush());
    byId("finish").addEventListener("click", () => this.finish());
    this.#show();
  }

  /** Nothing is there to be spoken, in the modes that need it beforehand. */
  get empty() {
    return this.form.mode !== "typing" && !this.field.value.trim();
  }

  /** Puts the cursor where text is missing. */
  focus() {
    (this.form.mode === "typing" ? this.typing : this.field).focus();
  }

  /**
   * The text of a new task, by the chosen mode.
   *
   * @returns {import("./text-sources.js").Source}
   */
  begin() {
    const { form } = this;
    byId("llm-progress").value = 0;
    if (form.mode === "typing") {
      this.#typed = new TypedText();
      byId("typed").replaceChildren();
      this.#send();
      this.#show();
      return this.#typed.source;
    }
    const text = this.field.value;
    if (form.mode === "whole") return wholeText(text);
    return simulatedLlm({
      text,
      tokensPerSecond: Math.max(0.5, form.value("tokens-per-second") ?? 20),
      jitter: Math.min(1, Math.max(0, (form.value("jitter") ?? 0) / 100)),
      seed: form.value("llm-seed") ?? 1,
    });
  }

  /** @param {{done: number, all: number}} progress of a simulated language model */
  progress({ done, all }) {
    byId("llm-progress").value = done / all;
  }

  /** Says that no more text is typed. */
  finish() {
    this.#send();
    this.#typed?.finish();
    this.end();
  }

  /** The task is over, whatever was typed. */
  end() {
    clearTimeout(this.#pauseTimer);
    this.#typed = null;
    this.#show();
  }

  #offerSamples() {
    for (const [name, text] of Object.entries(SAMPLES)) {
      const button = element("button", {
        type: "button",
        className: "link",
        dataset: { i18n: `sample.${name}` },
      });
      button.addEventListener("click", () => {
        const target = this.form.mode === "typing" ? "typing" : "text";
        this.form.set(target, text.replaceAll("\n", target === "typing" ? " " : "\n"));
        this.focus();
      });
      byId("samples").append(button);
    }
  }

  #show() {
    const { mode } = this.form;
    for (const part of document.querySelectorAll("[data-modes]")) {
      part.hidden = !part.dataset.modes.split(" ").includes(mode);
    }
    byId("characters").hidden = mode === "typing";
    const count = [...this.field.value].length;
    byId("characters").textContent = this.i18n.t("text.count", { n: this.i18n.number(count) });
    byId("typed").dataset.empty = this.i18n.t("typing.empty");
    byId("flush").disabled = byId("finish").disabled = this.#typed === null;
  }

  /** A pause sends what is there, if a task is running. */
  #awaitPause() {
    clearTimeout(this.#pauseTimer);
    if (!this.#typed) return;
    this.#pauseTimer = setTimeout(() => this.#send(), this.form.value("pause-ms") ?? 800);
  }

  #key(event) {
    // Enter also ends the choice of a character in an input method; that one is not ours.
    if (event.key !== "Enter" || event.isComposing || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (!this.#typed) this.dispatchEvent(new Event("begin"));
    else if (this.typing.value) this.#send();
    else this.#flush();
  }

  #flush() {
    this.#send();
    this.dispatchEvent(new Event("flush"));
  }

  #send() {
    clearTimeout(this.#pauseTimer);
    const piece = this.typing.value;
    if (!piece || !this.#typed) return;
    this.#typed.push(piece);
    this.form.set("typing", "");
    const item = element("li", {}, piece);
    byId("typed").append(item);
    item.scrollIntoView({ block: "nearest" });
  }
}
