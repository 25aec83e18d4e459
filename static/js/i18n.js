// The page's words in the user's language.

/** @typedef {Record<string, string>} Messages */

/** Fires `change` after the language has changed and the document says it. */
export class I18n extends EventTarget {
  /** Making one costs more than a figure that changes ten times a second may. */
  #formats = new Map();

  /**
   * @param {Record<string, Messages>} catalogs by locale; all have the same keys
   * @param {string} locale
   */
  constructor(catalogs, locale) {
    super();
    this.catalogs = catalogs;
    this.locale = locale;
  }

  /**
   * @param {string} key
   * @param {Record<string, unknown>} [values] for the `{names}` in the message
   * @returns {string}
   * @throws {Error} no such message: a mistake in the page
   */
  t(key, values = {}) {
    const message = this.catalogs[this.locale][key];
    if (message === undefined) throw new Error(`no message ${key} in ${this.locale}`);
    return message.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
  }

  /** @param {string} key */
  has(key) {
    return key in this.catalogs[this.locale];
  }

  /**
   * @param {number} value
   * @param {number} [digits] after the point
   * @returns {string}
   */
  number(value, digits = 0) {
    const key = `${this.locale} ${digits}`;
    let format = this.#formats.get(key);
    if (!format) {
      const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
      format = new Intl.NumberFormat(this.locale, options);
      this.#formats.set(key, format);
    }
    return format.format(value);
  }

  /**
   * @param {string} tag BCP 47
   * @returns {string} the language's name in the page's language, or the tag if it has none
   */
  languageName(tag) {
    try {
      return new Intl.DisplayNames(this.locale, { type: "language" }).of(tag) ?? tag;
    } catch {
      return tag; // Not a well-formed tag.
    }
  }

  /** @param {string} locale */
  setLocale(locale) {
    if (!(locale in this.catalogs)) throw new Error(`no messages in ${locale}`);
    this.locale = locale;
    this.apply();
    this.dispatchEvent(new Event("change"));
  }

  /** Fills `data-i18n` (text) and `data-i18n-NAME` (attribute NAME) below `root`. */
  apply(root = document) {
    if (root === document) document.documentElement.lang = this.locale;
    for (const one of root.querySelectorAll("*")) {
      for (const { name, value } of [...one.attributes]) {
        if (name === "data-i18n") one.textContent = this.t(value);
        else if (name.startsWith("data-i18n-")) one.setAttribute(name.slice(10), this.t(value));
      }
    }
  }
}

/**
 * @param {readonly string[]} wanted languages of the browser, best first
 * @param {readonly string[]} available
 * @returns {string} the first that is there, whatever its region, else the first available
 */
export function preferredLocale(wanted, available) {
  const languages = wanted.map((tag) => tag.toLowerCase().split("-")[0]);
  return languages.find((language) => available.includes(language)) ?? available[0];
}
