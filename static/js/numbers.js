// The figures of a run, live and final.

import { element } from "./dom.js";
import { Sparkline } from "./sparkline.js";

/**
 * @typedef {object} Figure
 * @property {string} name
 * @property {(stats: object, i18n: import("./i18n.js").I18n) => Array<string> | null} show value and
 *   what stands small beside it; null: nothing yet
 * @property {boolean} [key] the one to look at first
 * @property {boolean} [graph]
 * @property {(stats: object) => boolean} [bad]
 */

/** @type {Figure[]} */
const FIGURES = [
  { name: "audible", key: true, show: (s, i) => ms(s.firstAudibleMs, i) },
  { name: "frame", show: (s, i) => ms(s.firstFrameMs, i) },
  { name: "connect", show: (s, i) => ms(s.connectMs, i) },
  { name: "started", show: (s, i) => ms(s.startedMs, i) },
  { name: "buffer", graph: true, show: showBuffer },
  {
    name: "underruns",
    show: (s, i) =>
      s.underruns === undefined ? null : [i.number(s.underruns), underrunDetail(s, i)],
    bad: (s) => s.underruns > 0,
  },
  {
    name: "gap",
    show: (s, i) =>
      ms(
        s.gapP95Ms,
        i,
        s.gapMaxMs === null ? "" : i.t("numbers.gap.max", { ms: i.number(s.gapMaxMs) }),
      ),
  },
  {
    name: "rtf",
    show: (s, i) => (s.rtf === null ? null : [i.number(s.rtf, s.rtf < 0.1 ? 3 : 2), ""]),
  },
  {
    name: "audio",
    show: (s, i) =>
      s.audioS
        ? [i.number(s.audioS, 1), i.t("numbers.audio.played", { s: i.number(s.positionS ?? 0, 1) })]
        : null,
  },
  {
    name: "chunks",
    show: (s, i) =>
      s.chunks
        ? [i.number(s.chunks), i.t("numbers.kilobytes", { kb: i.number(s.bytes / 1024) })]
        : null,
  },
  {
    name: "stop",
    show: (s, i) => {
      if (s.silentMs === null) return null;
      const server =
        s.serverStopMs === null ? "" : i.t("numbers.stop.server", { ms: i.number(s.serverStopMs) });
      return ms(s.silentMs, i, server);
    },
  },
];

export class Numbers {
  #cells = new Map();
  #stats = {};

  /**
   * @param {HTMLElement} root a `dl`
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(root, i18n) {
    this.i18n = i18n;
    const canvas = element("canvas", { ariaHidden: "true" });
    this.sparkline = new Sparkline(canvas);
    for (const figure of FIGURES) {
      const value = element("dd");
      const term = element("dt", { dataset: { i18n: `numbers.${figure.name}` } });
      const classes = [figure.key && "key", figure.graph && "wide"].filter(Boolean).join(" ");
      const cell = element("div", { className: classes }, term);
      cell.setAttribute("data-i18n-title", `numbers.${figure.name}.title`);
      cell.append(
        figure.graph ? element("div", { className: "with-graph" }, value, canvas) : value,
      );
      root.append(cell);
      this.#cells.set(figure, value);
    }
    i18n.addEventListener("change", () => this.update(this.#stats));
  }

  /** Everything back to "nothing yet". */
  reset() {
    this.sparkline.reset();
    this.update({});
  }

  /** @param {object} stats see Session.stats() */
  update(stats) {
    const known = { ...NOTHING, ...stats };
    this.#stats = stats;
    for (const [figure, cell] of this.#cells) {
      const shown = figure.show(known, this.i18n);
      cell.className = shown === null ? "none" : figure.bad?.(known) ? "bad" : "";
      const [value, detail] = shown ?? ["–", ""];
      if (cell.textContent === (detail ? `${value} ${detail}` : value)) continue;
      cell.replaceChildren(value, ...(detail ? [" ", element("small", {}, detail)] : []));
    }
  }
}

const NOTHING = {
  firstAudibleMs: null,
  firstFrameMs: null,
  connectMs: null,
  startedMs: null,
  gapP95Ms: null,
  gapMaxMs: null,
  rtf: null,
  silentMs: null,
  serverStopMs: null,
  minBufferedMs: null,
};

function ms(value, i18n, detail = "") {
  if (value === null) return null;
  const digits = value < 10 ? 1 : 0;
  return [i18n.number(value, digits), detail ? `ms · ${detail}` : "ms"];
}

function underrunDetail(stats, i18n) {
  const parts = [];
  if (stats.underrunMs)
    parts.push(i18n.t("numbers.underruns.ms", { ms: i18n.number(stats.underrunMs) }));
  if (stats.pauses)
    parts.push(i18n.t("numbers.underruns.pauses", { n: i18n.number(stats.pauses) }));
  return parts.join(" · ");
}

function showBuffer(stats, i18n) {
  if (stats.bufferedMs === undefined) return null;
  const lowest = stats.minBufferedMs;
  const least =
    lowest === null ? "" : i18n.t("numbers.buffer.min", { s: i18n.number(lowest / 1000, 2) });
  return [i18n.number(stats.bufferedMs / 1000, 2), `s${least ? ` · ${least}` : ""}`];
}
