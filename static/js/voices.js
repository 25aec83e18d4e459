// The voice field: a searchable list.

import { byId, element } from "./dom.js";
import { findVoice, searchVoices } from "./voice-search.js";

/** A combobox. Fires `change` with the voice, or null, as `voice`; the input keeps what was typed. */
export class VoicePicker extends EventTarget {
  /** @type {import("./voice-search.js").Voice[]} */
  voices = [];
  #input = byId("voice");
  #list = byId("voice-list");
  #active = -1;

  /** @param {import("./i18n.js").I18n} i18n */
  constructor(i18n) {
    super();
    this.i18n = i18n;
    this.#input.addEventListener("click", () => this.#open(""));
    this.#input.addEventListener("input", (event) => {
      // Only what the user types opens the list.
      if (event.isTrusted) this.#open(this.#input.value);
      this.#changed();
    });
    this.#input.addEventListener("keydown", (event) => this.#key(event));
    this.#input.addEventListener("blur", () => this.#leave());
    // A press on the list must not take the focus away from the field.
    this.#list.addEventListener("pointerdown", (event) => event.preventDefault());
    this.#list.addEventListener("click", ({ target }) => {
      const option = target.closest("[role=option]");
      if (option) this.#choose(option.dataset.voice);
    });
    i18n.addEventListener("change", () => this.#describe());
  }

  /** The voice that the field names, null if the list has none of that name. */
  get voice() {
    return findVoice(this.voices, this.#input.value);
  }

  /** The list is open, so Escape is for it. */
  get open() {
    return !this.#list.hidden;
  }

  /** @param {import("./voice-search.js").Voice[]} voices */
  setVoices(voices) {
    this.voices = voices;
    if (!this.#input.value && voices.length) this.#choose(this.#first().name);
    else this.#changed();
  }

  /** Without a choice yet: a voice that speaks the user's language. */
  #first() {
    const wanted = this.i18n.locale === "zh" ? ["cmn", "zh"] : [this.i18n.locale];
    return (
      this.voices.find(({ language }) => wanted.includes(language.split("-")[0])) ?? this.voices[0]
    );
  }

  #facts({ language, gender }) {
    const { i18n } = this;
    const kinds = [
      i18n.languageName(language),
      gender === "neutral" ? "" : i18n.t(`gender.${gender}`),
    ];
    return kinds.filter(Boolean).join(" · ");
  }

  #open(query) {
    const found = searchVoices(this.voices, query, (voice) => this.#facts(voice));
    const chosen = this.voice;
    const options = found.map(({ voice, alias }, i) =>
      element(
        "li",
        {
          id: `voice-option-${i}`,
          role: "option",
          ariaSelected: "false",
          dataset: { voice: voice.name },
        },
        element("span", {}, voice.name),
        element("small", { className: "facts" }, this.#facts(voice)),
        alias ? element("small", { className: "alias" }, alias) : null,
      ),
    );
    this.#list.replaceChildren(...options);
    // An empty list would only cover what is below it.
    if (!options.length) return this.#close();
    this.#list.hidden = false;
    this.#input.setAttribute("aria-expanded", "true");
    this.#activate(found.findIndex(({ voice }) => voice === chosen));
  }

  #close() {
    this.#list.hidden = true;
    this.#input.setAttribute("aria-expanded", "false");
    this.#input.removeAttribute("aria-activedescendant");
  }

  #activate(index) {
    const options = this.#options();
    options[this.#active]?.setAttribute("aria-selected", "false");
    this.#active = index;
    const option = options[index];
    if (!option) return this.#input.removeAttribute("aria-activedescendant");
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    this.#input.setAttribute("aria-activedescendant", option.id);
  }

  #key(event) {
    const count = this.open ? this.#options().length : 0;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!this.open) return this.#open("");
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (count) this.#activate((this.#active + step + count) % count);
    } else if (event.key === "Enter" && this.open && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      const option = this.#options()[this.#active];
      if (option) this.#choose(option.dataset.voice);
      else this.#close();
    } else if (event.key === "Escape" && this.open) {
      event.preventDefault();
      event.stopPropagation();
      this.#close();
    }
  }

  #leave() {
    this.#close();
    if (!this.#input.value.trim() && this.voices.length) this.#choose(this.#first().name);
  }

  #choose(name) {
    this.#input.value = name;
    this.#close();
    this.#input.dispatchEvent(new Event("input", { bubbles: true }));
  }

  #options() {
    return this.#list.querySelectorAll("[role=option]");
  }

  #changed() {
    this.#describe();
    this.dispatchEvent(new CustomEvent("change", { detail: this.voice }));
  }

  #describe() {
    const { voice } = this;
    const unknown = this.voices.length && this.#input.value ? this.i18n.t("voice.nothing") : "";
    byId("voice-facts").textContent = voice ? this.#facts(voice) : unknown;
  }
}
