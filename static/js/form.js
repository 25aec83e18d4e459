// The controls and the request that they make. What was chosen is there again on the next visit.

import { byId } from "./dom.js";
import { makeSlider } from "./slider.js";

const RATES_HZ = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000];
const START_RATE_HZ = 24000;

/**
 * @typedef {object} Field of the StartSynthesis payload
 * @property {string} id of its control
 * @property {string} name
 * @property {unknown} [omit] the server's own default, which is left out of the request
 * @property {"instruction" | "sampling"} [ability] of the voice's model, without which it is hidden
 */

/** @type {Field[]} */
const FIELDS = [
  { id: "voice", name: "voice" },
  { id: "format", name: "format" },
  { id: "sample-rate", name: "sample_rate" },
  { id: "volume", name: "volume" },
  { id: "speech-rate", name: "speech_rate" },
  { id: "pitch-rate", name: "pitch_rate" },
  { id: "subtitles", name: "enable_subtitle" },
  { id: "markdown", name: "enable_markdown_filter", omit: true },
  { id: "normalization", name: "enable_text_normalization", omit: true },
  { id: "ssml", name: "enable_ssml", omit: false },
  { id: "instruction", name: "instruction", omit: "", ability: "instruction" },
  { id: "seed", name: "seed", omit: null, ability: "sampling" },
];
/** Controls that are remembered and are no field of the request. */
const OTHERS = ["text", "tokens-per-second", "jitter", "llm-seed", "pause-ms"];

/** Fires `change` when the request may have changed. */
export class Form extends EventTarget {
  #model = {};

  /** @param {import("./memory.js").Memory} memory */
  constructor(memory) {
    super();
    this.memory = memory;
    this.#makeControls();
    const kept = memory.read("form", {});
    for (const id of this.#ids()) {
      const control = byId(id);
      if (id in kept) write(control, kept[id]);
      control.addEventListener("input", () => this.#changed());
    }
    for (const radio of this.#modes()) {
      radio.checked = radio.value === (kept.mode ?? "whole");
      radio.addEventListener("change", () => this.#changed());
    }
    this.setModel({});
  }

  /** How the text is sent: whole, llm or typing. */
  get mode() {
    return this.#modes().find((radio) => radio.checked)?.value ?? "whole";
  }

  /**
   * @param {string} id of a control
   * @returns {any} a number for numeric ones (null when empty), true or false for check boxes
   */
  value(id) {
    return read(byId(id));
  }

  /**
   * @param {string} id of a control
   * @param {unknown} value
   */
  set(id, value) {
    write(byId(id), value);
  }

  /** @returns {Record<string, any>} payload of StartSynthesis */
  parameters() {
    const wanted = FIELDS.filter(({ ability }) => !ability || this.#model[ability]);
    const entries = wanted.map(({ id, name, omit }) => [name, this.value(id), omit]);
    return Object.fromEntries(entries.filter(([, value, omit]) => value !== omit));
  }

  /** @param {Record<string, any>} parameters payload of StartSynthesis; what it lacks is reset */
  apply(parameters) {
    for (const { id, name, omit } of FIELDS) {
      const value = parameters[name] ?? omit;
      if (value !== undefined) this.set(id, value ?? "");
    }
  }

  /** @param {{instruction?: boolean, sampling?: boolean}} model of the chosen voice */
  setModel(model) {
    this.#model = model;
    for (const { id, ability } of FIELDS) {
      if (ability) byId(`${id}-field`).hidden = !model[ability];
    }
    this.dispatchEvent(new Event("change"));
  }

  #makeControls() {
    const factor = (value) => `${(2 ** (value / 500)).toFixed(2)}×`;
    const options = {
      volume: { min: 0, max: 100, step: 1, start: 50, words: String },
      "speech-rate": { min: -500, max: 500, step: 10, start: 0, words: factor },
      "pitch-rate": { min: -500, max: 500, step: 10, start: 0, words: factor },
    };
    for (const root of document.querySelectorAll("[data-slider]")) {
      makeSlider(root, options[root.dataset.slider]);
    }
    byId("sample-rate").append(
      ...RATES_HZ.map((hz) => {
        const chosen = hz === START_RATE_HZ;
        return new Option(`${hz / 1000} kHz`, String(hz), chosen, chosen);
      }),
    );
  }

  #changed() {
    const values = this.#ids().map((id) => [id, this.value(id)]);
    this.memory.write("form", { ...Object.fromEntries(values), mode: this.mode });
    this.dispatchEvent(new Event("change"));
  }

  #ids() {
    return [...FIELDS.map(({ id }) => id), ...OTHERS];
  }

  #modes() {
    return [...document.querySelectorAll('input[name="mode"]')];
  }
}

function read(control) {
  if (control.type === "checkbox") return control.checked;
  if (control.type === "number" || control.type === "range") {
    return Number.isNaN(control.valueAsNumber) ? null : control.valueAsNumber;
  }
  return control.id === "sample-rate" ? Number(control.value) : control.value;
}

function write(control, value) {
  if (control.type === "checkbox") control.checked = Boolean(value);
  else control.value = String(value ?? "");
  // A select that has no such option would be left without any.
  if (control.tagName === "SELECT" && control.selectedIndex < 0) {
    const start = [...control.options].findIndex((option) => option.defaultSelected);
    control.selectedIndex = Math.max(0, start);
  }
  control.dispatchEvent(new Event("input", { bubbles: true }));
}
