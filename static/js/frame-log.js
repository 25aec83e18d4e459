// Every frame of the last task: direction, time, name, size; JSON folds out.

import { connectCopy, download } from "./clipboard.js";
import { element } from "./dom.js";
import { readFrames, writeFrames } from "./frame-file.js";

/** Rows in the document; the rest stays in the export. */
const SHOWN = 400;
const KINDS = ["all", "messages", "out", "in", "audio"];

/** Fires `replay` with a recorded task as `detail` (see readFrames), or null if a file was none. */
export class FrameLog extends EventTarget {
  /** @type {import("./frame-file.js").Frame[]} */
  frames = [];
  #waiting = [];
  #matching = 0;

  /**
   * @param {HTMLElement} root
   * @param {HTMLElement} count shows how many there are
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(root, count, i18n) {
    super();
    this.i18n = i18n;
    this.count = count;
    this.#build(root);
    i18n.addEventListener("change", () => this.#rebuild());
    this.#rebuild();
  }

  /** A new task begins. */
  clear() {
    this.frames = [];
    this.#rebuild();
  }

  /** @param {import("./frame-file.js").Frame} frame */
  add(frame) {
    this.frames.push(frame);
    this.#waiting.push(frame);
    if (this.#waiting.length === 1) requestAnimationFrame(() => this.#append());
  }

  #build(root) {
    const button = (name) =>
      element("button", { type: "button", dataset: { i18n: `frames.${name}` } });
    this.kind = element(
      "select",
      {},
      ...KINDS.map((kind) =>
        element("option", { value: kind, dataset: { i18n: `frames.kind.${kind}` } }),
      ),
    );
    this.kind.setAttribute("data-i18n-aria-label", "frames.kind");
    this.search = element("input", { type: "search" });
    this.search.setAttribute("data-i18n-placeholder", "frames.search");
    this.search.setAttribute("data-i18n-aria-label", "frames.search");
    const [fold, copy, save, load] = ["fold", "copy", "export", "replay"].map(button);
    load.setAttribute("data-i18n-title", "frames.replay.title");
    const file = element("input", { type: "file", accept: ".json,application/json", hidden: true });
    this.list = element("div", { className: "frames", tabIndex: 0, role: "region" });
    this.list.setAttribute("data-i18n-aria-label", "tab.frames");
    root.append(
      element(
        "div",
        { className: "bar" },
        this.kind,
        this.search,
        fold,
        element("span", { className: "push" }),
        copy,
        save,
        load,
        file,
      ),
      this.list,
    );
    this.kind.addEventListener("change", () => this.#rebuild());
    this.search.addEventListener("input", () => this.#rebuild());
    fold.addEventListener("click", () => this.#foldAll());
    connectCopy(copy, () => writeFrames(this.frames), this.i18n);
    save.addEventListener("click", () => {
      download(new Blob([writeFrames(this.frames)], { type: "application/json" }), "frames.json");
    });
    load.addEventListener("click", () => file.click());
    file.addEventListener("change", () => this.#load(file));
    this.buttons = [fold, copy, save];
  }

  #matches({ direction, name, body }) {
    const kind = this.kind.value;
    if (kind === "messages" && body === null) return false;
    if (kind === "audio" && body !== null) return false;
    if ((kind === "in" || kind === "out") && direction !== kind) return false;
    const wanted = this.search.value.trim().toLowerCase();
    if (!wanted) return true;
    return `${name} ${body === null ? "" : JSON.stringify(body)}`.toLowerCase().includes(wanted);
  }

  #rebuild() {
    this.#waiting = [];
    const matching = this.frames.filter((frame) => this.#matches(frame));
    this.#matching = matching.length;
    this.list.replaceChildren(...matching.slice(-SHOWN).map((frame) => this.#row(frame)));
    this.list.dataset.empty = this.i18n.t(this.frames.length ? "frames.none" : "frames.empty");
    this.#tidy();
  }

  #append() {
    const follow = this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 40;
    const matching = this.#waiting.filter((frame) => this.#matches(frame));
    this.#waiting = [];
    this.#matching += matching.length;
    this.list.append(...matching.slice(-SHOWN).map((frame) => this.#row(frame)));
    this.#tidy();
    if (follow) this.list.scrollTop = this.list.scrollHeight;
  }

  #tidy() {
    const hidden = Math.max(0, this.#matching - SHOWN);
    this.list.querySelector(".earlier")?.remove();
    while (this.list.childElementCount > SHOWN) this.list.firstElementChild.remove();
    if (hidden) {
      const words = this.i18n.t("frames.earlier", { n: this.i18n.number(hidden) });
      this.list.prepend(element("p", { className: "earlier" }, words));
    }
    this.count.textContent = this.frames.length ? this.i18n.number(this.frames.length) : "";
    for (const button of this.buttons) button.disabled = !this.frames.length;
  }

  #row(frame) {
    const { direction, atMs, name, size, body } = frame;
    const cells = [
      element(
        "span",
        { className: "way", title: this.i18n.t(`frames.${direction}`) },
        direction === "out" ? "↑" : "↓",
      ),
      element(
        "span",
        { className: "time" },
        `${((atMs - this.frames[0].atMs) / 1000).toFixed(3)} s`,
      ),
      element("span", { className: "name" }, name, element("i", {}, summary(body))),
      element("span", { className: "size" }, `${this.i18n.number(size)} B`),
    ];
    const failed = name === "TaskFailed" ? " failed" : "";
    if (body === null) return element("div", { className: `binary ${direction}` }, ...cells);
    const details = element(
      "details",
      { className: direction + failed },
      element("summary", {}, ...cells),
    );
    // Thousands of messages are listed, few are read.
    details.addEventListener("toggle", () => {
      if (details.childElementCount < 2)
        details.append(element("pre", {}, JSON.stringify(body, null, 2)));
    });
    return details;
  }

  /** Opens all, or closes all if one is open. */
  #foldAll() {
    const all = [...this.list.querySelectorAll("details")];
    const open = !all.some((one) => one.open);
    for (const one of all) one.open = open;
  }

  async #load(file) {
    const [chosen] = file.files;
    file.value = "";
    if (!chosen) return;
    let recorded = null;
    try {
      recorded = readFrames(await chosen.text());
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
    }
    this.dispatchEvent(new CustomEvent("replay", { detail: recorded }));
  }
}

/** What is worth seeing of a message without opening it. */
function summary(body) {
  const { header = {}, payload = {} } = Object(body);
  const subtitle = payload.subtitles?.find((item) => item.sentence) ?? payload.subtitles?.at(-1);
  const parts = [
    header.name === "TaskFailed" ? `${header.status} ${header.status_text ?? ""}` : "",
    header.name === "StartSynthesis"
      ? [payload.voice, payload.format, payload.sample_rate].join(" ")
      : "",
    payload.text,
    payload.cancel ? "cancel" : "",
    payload.index ? `#${payload.index}` : "",
    subtitle ? `${subtitle.begin_time}–${subtitle.end_time} ms` : "",
  ].filter(Boolean);
  return parts.length ? `  ${parts.join("  ")}` : "";
}
