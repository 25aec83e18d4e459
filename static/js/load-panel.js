// A small load test from this page: many listeners at once, without loudspeakers.

import { element } from "./dom.js";
import { explain } from "./errors.js";
import { runLoadTest } from "./load-test.js";

const MOST = 64;

export class LoadPanel {
  #abort = null;
  #rows = [];
  #summary = null;

  /**
   * @param {HTMLElement} root
   * @param {object} source
   * @param {() => {url: string, token: string, parameters: object, text: string}} source.request
   * @param {import("./i18n.js").I18n} source.i18n
   */
  constructor(root, { request, i18n }) {
    this.request = request;
    this.i18n = i18n;
    const number = (id, value, max) =>
      element("input", {
        type: "number",
        id,
        min: id === "load-sessions" ? 1 : 0,
        max,
        value,
        step: 1,
      });
    const field = (key, input) =>
      element(
        "label",
        { className: "field short" },
        element("span", { dataset: { i18n: key } }),
        input,
      );
    this.sessions = number("load-sessions", 8, MOST);
    this.stagger = number("load-stagger", 50, 10_000);
    this.button = element("button", {
      type: "submit",
      className: "primary",
      id: "load-start",
      dataset: { i18n: "load.start" },
    });
    this.progress = element("span", { className: "hint", role: "status" });
    const form = element(
      "form",
      { className: "load-form" },
      field("load.sessions", this.sessions),
      field("load.stagger", this.stagger),
      this.button,
      this.progress,
    );
    form.noValidate = true;
    this.table = element("div", { className: "table", hidden: true, tabIndex: 0 });
    root.append(
      element("p", { className: "hint", dataset: { i18n: "load.hint" } }),
      form,
      this.table,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#abort) this.#abort.abort();
      else this.#run();
    });
    i18n.addEventListener("change", () => this.#show());
  }

  async #run() {
    const { url, token, parameters, text } = this.request();
    if (!text.trim()) {
      this.progress.textContent = this.i18n.t("status.empty");
      return;
    }
    const sessions = Math.min(MOST, Math.max(1, Math.floor(this.sessions.valueAsNumber) || 1));
    this.sessions.value = String(sessions);
    this.#abort = new AbortController();
    this.#rows = [];
    this.#summary = null;
    this.#label("load.stop");
    const onRow = (row, done) => {
      this.#rows.push(row);
      this.progress.textContent = this.i18n.t("load.progress", { done, all: sessions });
      this.#show();
    };
    const { signal } = this.#abort;
    const staggerMs = Math.max(0, this.stagger.valueAsNumber || 0);
    try {
      const { rows, summary } = await runLoadTest({
        sessions,
        url,
        token,
        parameters,
        text,
        staggerMs,
        signal,
        onRow,
      });
      this.#rows = rows;
      this.#summary = summary;
    } finally {
      this.#abort = null;
      this.#label("load.start");
      this.#show();
    }
  }

  #label(key) {
    this.button.dataset.i18n = key;
    this.button.textContent = this.i18n.t(key);
  }

  #show() {
    this.table.hidden = !this.#rows.length;
    const columns = ["session", "connect", "first", "audio", "rtf", "underruns"];
    const head = columns.map((name) =>
      element("th", { scope: "col" }, this.i18n.t(`load.column.${name}`)),
    );
    const body = element(
      "tbody",
      {},
      ...this.#summaries(),
      ...this.#rows.map((row) => this.#row(row)),
    );
    this.table.replaceChildren(
      element("table", {}, element("thead", {}, element("tr", {}, ...head)), body),
    );
  }

  #row({ index, error, connectMs, firstAudioMs, audioS, rtf, underruns, underrunMs }) {
    const cells = [String(index), this.#ms(connectMs)];
    if (error) {
      const { title, code } = explain(error, this.i18n);
      const said = `${title} ${code} ${error.text}`;
      return element(
        "tr",
        {},
        ...cells.map((cell) => element("td", {}, cell)),
        element("td", { colSpan: 4, className: "bad" }, said),
      );
    }
    const stutter = underruns ? `${underruns} · ${this.#ms(underrunMs)}` : "0";
    cells.push(
      this.#ms(firstAudioMs),
      `${this.i18n.number(audioS, 1)} s`,
      rtf === null ? "–" : this.i18n.number(rtf, 2),
      stutter,
    );
    return element("tr", {}, ...cells.map((cell) => element("td", {}, cell)));
  }

  /** Two lines above all: the middle and the slow end, and what all of them make together. */
  #summaries() {
    if (!this.#summary) return [];
    const {
      firstAudioP50Ms,
      firstAudioP95Ms,
      audioS,
      audioPerWall,
      underruns,
      underrunMs,
      failed,
    } = this.#summary;
    const failures = failed ? this.i18n.t("load.failed", { n: failed }) : "";
    const stutter = underruns ? `${underruns} · ${this.#ms(underrunMs)}` : "0";
    const speed = this.i18n.t("load.speed", { n: this.i18n.number(audioPerWall, 1) });
    const line = (...cells) =>
      element("tr", { className: "summary" }, ...cells.map((cell) => element("td", {}, cell)));
    return [
      line(
        "p50",
        failures,
        this.#ms(firstAudioP50Ms),
        `${this.i18n.number(audioS, 1)} s`,
        speed,
        stutter,
      ),
      line("p95", "", this.#ms(firstAudioP95Ms), "", "", ""),
    ];
  }

  #ms(value) {
    return value === null ? "–" : `${this.i18n.number(value)} ms`;
  }
}
