// The server at a glance: workers, queue, tasks, version, and the way to more.

import { element } from "./dom.js";

const EVERY_MS = 2000;
const LAMPS = { ready: "good", starting: "warn", stopping: "warn", unloaded: "idle" };

export class AdminStrip {
  #status = null;
  #problem = false;

  /**
   * @param {HTMLElement} root
   * @param {import("./server.js").Server} server
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(root, server, i18n) {
    this.root = root;
    this.server = server;
    this.i18n = i18n;
    this.facts = element("span", { className: "admin-facts" });
    root.append(this.facts, ...this.#links());
    i18n.addEventListener("change", () => this.#show());
    this.#poll();
  }

  async #poll() {
    try {
      if (!document.hidden) {
        this.#status = await this.server.status();
        this.#problem = false;
      }
    } catch (error) {
      if (!error.adviceKey) throw error;
      this.#problem = true;
    }
    this.#show();
    setTimeout(() => this.#poll(), EVERY_MS);
  }

  #show() {
    if (this.#problem) return this.#replace(this.#lamp("bad"), this.i18n.t("admin.unreachable"));
    if (!this.#status) return this.#replace(this.i18n.t("admin.asking"));
    const { version, sessions, queued, workers } = this.#status;
    const ready = workers.filter(({ state }) => state === "ready").length;
    const lamps = workers.map(({ model, state, running }) => {
      const kind = state === "ready" && running ? "busy" : (LAMPS[state] ?? "bad");
      const title = this.i18n.t("admin.worker", { model, state, n: running });
      return this.#lamp(kind, title);
    });
    this.#replace(
      element(
        "span",
        { className: "workers" },
        element("span", { className: "lamps" }, ...lamps),
        this.#fact("admin.workers", `${ready}/${workers.length}`),
      ),
      this.#fact("admin.queued", queued),
      this.#fact("admin.sessions", sessions),
      this.#fact("admin.version", version),
    );
  }

  #fact(key, value) {
    const [before, after] = this.i18n.t(key).split("{n}");
    return element("span", {}, before, element("b", {}, String(value)), after);
  }

  #lamp(kind, title = "") {
    return element("span", { className: `lamp ${kind}`, title });
  }

  #replace(...children) {
    this.facts.replaceChildren(...children);
  }

  #links() {
    const link = (key, href) =>
      element("a", { href, target: "_blank", rel: "noreferrer", dataset: { i18n: key } });
    return [
      link("admin.metrics", new URL("metrics", this.server.base).href),
      link("admin.status", new URL("status", this.server.base).href),
      link("admin.docs", new URL("docs", this.server.base).href),
    ];
  }
}
