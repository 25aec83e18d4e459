// A voice from a recording: by the microphone or from a file. Shown only if a model can clone.

import { element } from "./dom.js";
import { explain } from "./errors.js";
import { Recorder } from "./recorder.js";
import { describeReport } from "./recording-report.js";

const MOST_BYTES = 20 * 2 ** 20;

/** Fires `voices` when voices have come or gone. */
export class CloningPanel extends EventTarget {
  #recorder = new Recorder();
  /** @type {{blob: Blob, name: string} | null} */
  #audio = null;
  #voices = [];
  /** @type {import("./recording-report.js").Report | null} */
  #report = null;

  /**
   * @param {HTMLElement} root
   * @param {import("./server.js").Server} server
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(root, server, i18n) {
    super();
    this.server = server;
    this.i18n = i18n;
    this.#build(root);
    this.#recorder.addEventListener("level", ({ detail }) => this.#showLevel(detail));
    this.#recorder.addEventListener("full", () => this.#stopRecording());
    i18n.addEventListener("change", () => {
      this.#list();
      this.#showReport(this.#report);
    });
  }

  /** @param {import("./voice-search.js").Voice[]} voices all of the server's */
  setVoices(voices) {
    this.#voices = voices.filter(({ kind }) => kind === "clone");
    this.#list();
  }

  #build(root) {
    const field = (key, input) =>
      element("label", { className: "field" }, element("span", { dataset: { i18n: key } }), input);
    this.name = element("input", {
      type: "text",
      id: "clone-name",
      maxLength: 64,
      required: true,
      autocomplete: "off",
    });
    this.text = element("textarea", { id: "clone-text", rows: 3 });
    this.text.setAttribute("data-i18n-placeholder", "clone.text.placeholder");
    this.record = element("button", {
      type: "button",
      id: "clone-record",
      dataset: { i18n: "clone.record" },
    });
    this.file = element("input", { type: "file", id: "clone-file", accept: "audio/*" });
    this.meter = element("meter", {
      className: "level",
      min: 0,
      max: 1,
      low: 0.3,
      high: 0.93,
      optimum: 0.7,
      value: 0,
    });
    this.meter.setAttribute("data-i18n-aria-label", "clone.level");
    this.said = element("p", { className: "hint", role: "status" });
    this.player = element("audio", { controls: true, hidden: true });
    this.send = element("button", {
      type: "submit",
      className: "primary",
      id: "clone-send",
      dataset: { i18n: "clone.send" },
    });
    this.remarks = element("ul", { className: "hint remarks" });
    this.facts = element("dl", { className: "report" });
    const form = element(
      "form",
      { className: "clone-form" },
      element("p", { className: "hint", dataset: { i18n: "clone.hint" } }),
      field("clone.name", this.name),
      element("div", { className: "row" }, this.record, this.file),
      this.meter,
      this.player,
      field("clone.text", this.text),
      element("div", { className: "row" }, this.send),
      this.said,
      this.remarks,
      this.facts,
    );
    form.noValidate = true;
    this.list = element("ul");
    const list = element(
      "div",
      { className: "clone-list" },
      element("h3", { dataset: { i18n: "clone.list" } }),
      this.list,
    );
    root.append(element("div", { className: "clone" }, form, list));
    this.record.addEventListener("click", () => this.#toggleRecording());
    this.file.addEventListener("change", () => {
      const [file] = this.file.files;
      if (file) this.#take(file, file.name);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#clone();
    });
  }

  async #toggleRecording() {
    if (this.#recorder.recording) return this.#stopRecording();
    try {
      await this.#recorder.start();
      this.#label(this.record, "clone.record.stop");
      this.#say("clone.recording");
    } catch (error) {
      if (!(error instanceof DOMException || error instanceof TypeError)) throw error;
      this.#say(window.isSecureContext ? "clone.microphone" : "clone.insecure", {
        text: error.message,
      });
    }
  }

  async #stopRecording() {
    if (!this.#recorder.recording) return;
    this.#label(this.record, "clone.record");
    this.#take(await this.#recorder.stop(), "recording.wav");
    this.meter.value = 0;
  }

  #take(blob, name) {
    this.#audio = { blob, name };
    URL.revokeObjectURL(this.player.src);
    this.player.src = URL.createObjectURL(blob);
    this.player.hidden = false;
    if (blob.size > MOST_BYTES) this.#say("clone.large");
    else this.#say("clone.ready", { name });
  }

  async #clone() {
    const name = this.name.value.trim();
    if (!name) return this.#ask(this.name, "clone.needs.name");
    if (!this.#audio) return this.#ask(this.record, "clone.needs.audio");
    if (!this.text.value.trim()) return this.#ask(this.text, "clone.needs.text");
    this.send.disabled = true;
    this.#say("clone.sending");
    this.#showReport(null);
    try {
      const { blob, name: fileName } = this.#audio;
      const made = await this.server.clone({
        name,
        text: this.text.value.trim(),
        audio: blob,
        fileName,
      });
      this.#say("clone.done", { name: made.name });
      this.#showReport(made.report);
      this.dispatchEvent(new Event("voices"));
    } catch (error) {
      this.#fail(error);
    } finally {
      this.send.disabled = false;
    }
  }

  async #forget(name) {
    if (!confirm(this.i18n.t("clone.delete.sure", { name }))) return;
    try {
      await this.server.forget(name);
      this.#say("clone.deleted", { name });
      this.dispatchEvent(new Event("voices"));
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error) {
    if (!error.adviceKey) throw error;
    this.said.className = "hint failing";
    if (error.report) {
      this.said.textContent = this.i18n.t("clone.refused");
      this.#showReport(error.report);
      return;
    }
    const { title, code, text, advice } = explain(error, this.i18n);
    this.said.textContent = [title, code, text, advice].filter(Boolean).join(" · ");
  }

  #ask(control, key) {
    this.#say(key);
    control.focus();
  }

  #say(key, values) {
    this.said.className = "hint";
    this.said.textContent = this.i18n.t(key, values);
  }

  #label(button, key) {
    button.dataset.i18n = key;
    button.textContent = this.i18n.t(key);
  }

  #showLevel({ level, seconds }) {
    this.meter.value = level;
    this.said.textContent = this.i18n.t("clone.seconds", { s: this.i18n.number(seconds, 1) });
  }

  #showReport(report) {
    this.#report = report;
    const { remarks, facts } = report
      ? describeReport(report, this.i18n)
      : { remarks: [], facts: [] };
    this.remarks.replaceChildren(...remarks.map((remark) => element("li", {}, remark)));
    this.facts.replaceChildren(
      ...facts.flatMap(([fact, value]) => [element("dt", {}, fact), element("dd", {}, value)]),
    );
  }

  #list() {
    const rows = this.#voices.map(({ name }) => {
      const button = element("button", { type: "button" }, this.i18n.t("clone.delete"));
      button.addEventListener("click", () => this.#forget(name));
      return element("li", {}, element("b", {}, name), button);
    });
    const none = element("li", { className: "hint" }, this.i18n.t("clone.none"));
    this.list.replaceChildren(...(rows.length ? rows : [none]));
  }
}
