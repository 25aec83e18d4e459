// The page: makes its parts and connects them.

import { AdminStrip } from "./admin-strip.js";
import { CloningPanel } from "./cloning-panel.js";
import { byId } from "./dom.js";
import { explain } from "./errors.js";
import { Form } from "./form.js";
import { FrameLog } from "./frame-log.js";
import { I18n, preferredLocale } from "./i18n.js";
import { LoadPanel } from "./load-panel.js";
import { Memory } from "./memory.js";
import { en } from "./messages/en.js";
import { zh } from "./messages/zh.js";
import { OutputView } from "./output-view.js";
import { RequestPanel } from "./request-panel.js";
import { SAMPLES } from "./samples.js";
import { Server } from "./server.js";
import { Session } from "./session.js";
import { connectTabs } from "./tabs.js";
import { TextInput } from "./text-input.js";
import { recordedText } from "./text-sources.js";
import { connectTheme } from "./theme.js";
import { VoicePreview } from "./voice-preview.js";
import { VoicePicker } from "./voices.js";

const CATALOGS = { en, zh };

class Page {
  /** @type {Session | null} */
  session = null;
  /** A token is a secret: it stays in this tab. */
  #secrets = new Memory(() => sessionStorage);
  #memory = new Memory();
  #models = [];
  #voicesFailure = null;
  #turn = 0;

  constructor() {
    const kept = this.#memory.read("locale", "");
    const locale =
      kept in CATALOGS ? kept : preferredLocale(navigator.languages, Object.keys(CATALOGS));
    this.i18n = new I18n(CATALOGS, locale);
    connectTheme(byId("theme"), this.#memory, () => this.output.redraw());
    this.form = new Form(this.#memory);
    if (!this.form.value("text")) this.form.set("text", SAMPLES[locale]);
    const token = new URL(location.href).searchParams.get("token");
    byId("token").value = token ?? this.#secrets.read("token", "");
    this.server = new Server(location.href, () => byId("token").value.trim());
    this.input = new TextInput(this.form, this.i18n);
    this.picker = new VoicePicker(this.i18n);
    this.preview = new VoicePreview(byId("preview"), this.i18n);
    this.log = new FrameLog(byId("panel-frames"), byId("frame-count"), this.i18n);
    const source = { request: () => this.#request(), i18n: this.i18n };
    this.requestPanel = new RequestPanel(byId("panel-request"), source);
    this.loadPanel = new LoadPanel(byId("panel-load"), source);
    this.cloning = new CloningPanel(byId("panel-cloning"), this.server, this.i18n);
    this.admin = new AdminStrip(byId("admin"), this.server, this.i18n);
    connectTabs(document.querySelector("[role=tablist]"));
    this.output = new OutputView(this.i18n);
    this.i18n.apply();
    this.#connect();
    this.requestPanel.show();
    this.loadVoices();
  }

  /** "idle", or the state of the last run. */
  get state() {
    return this.session?.state ?? "idle";
  }

  /** Speaks what is in the text field, after silencing what is being spoken. */
  async speak() {
    if (this.input.empty) {
      this.output.say("status.empty");
      this.input.focus();
      return;
    }
    await this.#run(this.form.parameters(), () => this.input.begin());
  }

  /** Silences everything that this page is speaking. */
  async stop() {
    this.#turn += 1;
    this.preview.stop();
    this.output.recording.pause();
    await this.session?.stop();
  }

  async loadVoices() {
    try {
      const { models, voices } = await this.server.voices();
      this.#models = models;
      this.#showVoicesFailure(null);
      this.picker.setVoices(voices);
      this.cloning.setVoices(voices);
      byId("tab-cloning").hidden = !models.some(({ cloning }) => cloning);
    } catch (error) {
      if (!error.adviceKey) throw error;
      this.#showVoicesFailure(error);
    }
  }

  async #run(parameters, begin) {
    this.#turn += 1;
    const turn = this.#turn;
    if (this.session && !this.session.over) await this.session.stop();
    // Whoever asks while the last run stops takes its place.
    if (turn !== this.#turn) return;
    const { speechUrl: url } = this.server;
    const session = new Session({ url, token: this.server.token(), parameters, source: begin() });
    this.session = session;
    this.log.clear();
    session.addEventListener("frame", ({ detail }) => this.log.add(detail));
    session.addEventListener("progress", ({ detail }) => this.input.progress(detail));
    session.addEventListener("state", () => this.#buttons());
    this.output.begin(session);
    this.#buttons();
    await session.run();
  }

  #buttons() {
    if (!this.session.over) {
      byId("stop").disabled = false;
      return;
    }
    // A focus on a button that is switched off would be lost.
    if (document.activeElement === byId("stop")) byId("speak").focus();
    byId("stop").disabled = true;
    this.input.end();
    // A server that was gone may be there again, with other voices.
    if (!this.picker.voices.length) this.loadVoices();
  }

  #request() {
    const text = this.form.mode === "typing" ? byId("typing").value : byId("text").value;
    const { speechUrl: url } = this.server;
    return { url, token: this.server.token(), parameters: this.form.parameters(), text };
  }

  #connect() {
    byId("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.speak();
    });
    byId("stop").addEventListener("click", () => this.stop());
    document.addEventListener("keydown", (event) => this.#key(event));
    this.input.addEventListener("begin", () => this.speak());
    this.input.addEventListener("flush", () => this.session?.flush());
    this.form.addEventListener("change", () => this.requestPanel.show());
    this.log.addEventListener("replay", ({ detail }) => this.#replay(detail));
    this.#connectVoices();
    this.#connectToken();
    const locale = byId("locale");
    locale.value = this.i18n.locale;
    locale.addEventListener("change", () => {
      this.#memory.write("locale", locale.value);
      this.i18n.setLocale(locale.value);
    });
    this.i18n.addEventListener("change", () => this.#showVoicesFailure(this.#voicesFailure));
  }

  #connectVoices() {
    this.picker.addEventListener("change", ({ detail: voice }) => {
      this.form.setModel(this.#models.find(({ name }) => name === voice?.model) ?? {});
    });
    this.cloning.addEventListener("voices", () => this.loadVoices());
    byId("voice-retry").addEventListener("click", () => this.loadVoices());
    byId("preview").addEventListener("click", () => this.#preview());
  }

  async #preview() {
    if (this.preview.playing) return this.preview.stop();
    const voice = this.form.value("voice");
    const language = this.picker.voice?.language ?? this.i18n.locale;
    try {
      await this.preview.play({ server: this.server, voice, language });
      this.#showVoicesFailure(null);
    } catch (error) {
      if (!error.adviceKey) throw error;
      this.#showVoicesFailure(error);
    }
  }

  #connectToken() {
    const token = byId("token");
    token.addEventListener("input", () => {
      this.#secrets.write("token", token.value);
      this.requestPanel.show();
    });
    token.addEventListener("change", () => this.loadVoices());
    byId("token-show").addEventListener("click", ({ currentTarget }) => {
      const shown = token.type === "password";
      token.type = shown ? "text" : "password";
      currentTarget.setAttribute("aria-pressed", String(shown));
    });
  }

  #key(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.speak();
    } else if (event.key === "Escape" && !event.defaultPrevented) {
      this.stop();
    }
  }

  async #replay(recorded) {
    if (!recorded?.pieces.length) {
      this.output.say("frames.replay.none");
      return;
    }
    this.form.apply(recorded.parameters);
    await this.#run(recorded.parameters, () => recordedText(recorded.pieces));
  }

  #showVoicesFailure(failure) {
    this.#voicesFailure = failure;
    byId("voice-problem").hidden = !failure;
    if (!failure) return;
    const { title, code, text, advice } = explain(failure, this.i18n);
    const words = [`${title} ${code}`.trim(), text, advice].join(" · ");
    byId("voice-problem").firstElementChild.textContent = words;
  }
}

const page = new Page();

/** For tests, and for the curious at the console. */
window.cosystream = {
  stats: () => page.session?.stats() ?? { state: "idle" },
  get state() {
    return page.state;
  },
  get frames() {
    return page.log.frames;
  },
};
