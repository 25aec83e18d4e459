// The request as it is sent, and as programs that make the same one.

import { connectCopy } from "./clipboard.js";
import { element } from "./dom.js";
import { curl, javascript, python } from "./snippets.js";

const PROGRAMS = { curl, python, javascript };
const KINDS = ["json", ...Object.keys(PROGRAMS)];
const MASK = "••••••••";

export class RequestPanel {
  /**
   * @param {HTMLElement} root
   * @param {object} source
   * @param {() => {url: string, token: string, parameters: object, text: string}} source.request
   * @param {import("./i18n.js").I18n} source.i18n
   */
  constructor(root, { request, i18n }) {
    this.request = request;
    this.i18n = i18n;
    this.kind = element("fieldset", { className: "segmented" });
    for (const kind of KINDS) {
      const radio = element("input", {
        type: "radio",
        name: "snippet",
        value: kind,
        checked: kind === "json",
      });
      this.kind.append(
        element("label", {}, radio, element("span", { dataset: { i18n: `request.${kind}` } })),
      );
    }
    this.hint = element("p", { className: "hint" });
    this.code = element("code");
    const copy = element("button", {
      type: "button",
      id: "copy-request",
      dataset: { i18n: "copy" },
    });
    const pre = element("pre", { tabIndex: 0 }, this.code);
    const bar = element(
      "div",
      { className: "bar" },
      this.kind,
      element("span", { className: "push" }),
      copy,
    );
    root.append(bar, element("div", { className: "code" }, pre), this.hint);
    this.kind.addEventListener("change", () => this.show());
    connectCopy(copy, () => this.program(this.request().token), i18n);
    i18n.addEventListener("change", () => this.show());
  }

  /**
   * @param {string} token as it is to stand in it
   * @returns {string} what is copied
   */
  program(token) {
    const kind = this.kind.querySelector(":checked").value;
    const { url, parameters, text } = this.request();
    if (kind === "json") return JSON.stringify(parameters, null, 2);
    return PROGRAMS[kind](url, token, parameters, text);
  }

  /** Shows the request as it is now, with the token out of sight. */
  show() {
    const kind = this.kind.querySelector(":checked").value;
    const { token } = this.request();
    this.code.textContent = this.program(token ? MASK : "");
    const secret = token && kind !== "json" ? ` ${this.i18n.t("request.token")}` : "";
    this.hint.textContent = this.i18n.t(`request.${kind}.hint`) + secret;
  }
}
