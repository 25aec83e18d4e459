// Aliyun's FlowingSpeechSynthesizer over a browser's WebSocket; see docs/protocols/aliyun.md.

import { AliyunError } from "./aliyun-error.js";
import { Deadline } from "./deadline.js";
import { message, messageTexts, newId } from "./nls-messages.js";

/**
 * One connection; tasks may follow one another on it. Events and their `detail`:
 *
 *   frame           {direction: "in" | "out", atMs, name, size, body}: size in bytes; name
 *                   "audio" and body null for binary frames; a token is in none
 *   started         the payload of SynthesisStarted
 *   sentence-begin  {index}
 *   audio           ArrayBuffer; none after a cancel
 *   subtitles       {index, subtitles}: all that is known of the sentence so far
 *   sentence-end    {index, subtitles}
 *   completed       {index, measureLength}
 *   failed          AliyunError, once, also when a promise rejects with the same; not after close()
 *   closed          {code, reason}
 *
 * Who listens to `failed` need not handle the rejected promises.
 */
export class AliyunClient extends EventTarget {
  #WebSocket;
  #limits;
  #socket = null;
  #taskId = "";
  #cancelled = false;
  #appkey = "";
  /** @type {{connect?: Deadline, start?: Deadline, stop?: Deadline}} */
  #awaited = {};
  /** @type {"new" | "connecting" | "idle" | "starting" | "running" | "stopping" | "over"} */
  state = "new";

  /**
   * @param {object} [options]
   * @param {typeof WebSocket} [options.WebSocket]
   * @param {number} [options.connectTimeoutMs]
   * @param {number} [options.startTimeoutMs] until SynthesisStarted
   * @param {number} [options.silenceTimeoutMs] after stop, between two messages of the server
   * @param {number} [options.cancelTimeoutMs] until SynthesisCompleted after a cancel
   */
  constructor({
    WebSocket = globalThis.WebSocket,
    connectTimeoutMs = 10_000,
    startTimeoutMs = 10_000,
    silenceTimeoutMs = 30_000,
    cancelTimeoutMs = 5_000,
  } = {}) {
    super();
    this.#WebSocket = WebSocket;
    this.#limits = { connectTimeoutMs, startTimeoutMs, silenceTimeoutMs, cancelTimeoutMs };
  }

  /**
   * Once per client.
   *
   * @param {{url: string, token?: string, appkey?: string}} server url: `ws://host/ws/v1/tts`
   * @returns {Promise<void>} rejects with an AliyunError
   */
  connect({ url, token = "", appkey = "cosystream" }) {
    if (this.state !== "new") throw new Error("a client has one connection; make a new client");
    this.#appkey = appkey;
    const address = new URL(url);
    // Browsers cannot set headers on a WebSocket.
    if (token) address.searchParams.set("token", token);
    this.state = "connecting";
    try {
      this.#socket = new this.#WebSocket(address.href);
    } catch (error) {
      // A page that came over https may not open ws://; the reason is in the message only.
      return rejected(this.#fail(unreachable(error.message)));
    }
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => {
      this.state = "idle";
      this.#awaited.connect?.resolve();
    };
    this.#socket.onmessage = ({ data }) => this.#receive(data);
    // Tells nothing but that there will be no connection; not every implementation closes then.
    this.#socket.onerror = () => {
      if (this.state === "connecting") this.#fail(unreachable("no connection to the server"));
    };
    this.#socket.onclose = ({ code, reason }) => this.#closed(code, reason);
    return this.#await("connect", this.#limits.connectTimeoutMs);
  }

  /**
   * Starts a task.
   *
   * @param {object} parameters the payload of StartSynthesis
   * @returns {Promise<object>} the payload of SynthesisStarted; rejects with an AliyunError
   */
  start(parameters) {
    if (this.state === "over") return rejected(closedError());
    if (this.state !== "idle") throw new Error(`start() while ${this.state}`);
    this.state = "starting";
    this.#taskId = newId();
    this.#cancelled = false;
    this.#send("StartSynthesis", parameters);
    return this.#await("start", this.#limits.startTimeoutMs);
  }

  /**
   * Sends text of any length; SynthesisStarted need not be awaited.
   *
   * @param {string} text
   * @returns {boolean} false: the task is over by now
   */
  run(text) {
    if (!this.#takesText()) return false;
    for (const piece of messageTexts(text)) this.#send("RunSynthesis", { text: piece });
    return true;
  }

  /**
   * Asks for what was sent to be spoken now.
   *
   * @returns {boolean} false: the task is over by now
   */
  flush() {
    if (!this.#takesText()) return false;
    this.#send("FlushText", {});
    return true;
  }

  /**
   * No more text comes. With `cancel` (barge-in, also after a plain stop) the server stops at
   * once and no more audio is announced.
   *
   * @param {{cancel?: boolean}} [options]
   * @returns {Promise<object>} the payload of SynthesisCompleted; rejects with an AliyunError
   */
  stop({ cancel = false } = {}) {
    if (this.state === "over") return rejected(closedError());
    const again = this.state === "stopping";
    if (!again && !this.#takesText()) throw new Error(`stop() while ${this.state}`);
    if (cancel ? !this.#cancelled : !again) {
      this.#send("StopSynthesis", cancel ? { cancel: true } : {});
    }
    this.#cancelled ||= cancel;
    this.state = "stopping";
    const { cancelTimeoutMs, silenceTimeoutMs } = this.#limits;
    return this.#await("stop", this.#cancelled ? cancelTimeoutMs : silenceTimeoutMs);
  }

  /** Ends the connection at any time; the server then stops what it still does for us. */
  close() {
    if (this.state === "new" || this.state === "over") return;
    this.#end(closedError());
  }

  #takesText() {
    return this.state === "starting" || this.state === "running";
  }

  #send(name, payload) {
    const body = message(name, { taskId: this.#taskId, appkey: this.#appkey, payload });
    const text = JSON.stringify(body);
    this.#emit("frame", frame("out", name, text, body));
    this.#socket.send(text);
  }

  #receive(data) {
    if (!this.#cancelled) this.#awaited.stop?.extend();
    if (typeof data !== "string") {
      this.#emit("frame", frame("in", "audio", data, null));
      if (!this.#cancelled && this.state !== "over") this.#emit("audio", data);
      return;
    }
    let body;
    try {
      body = JSON.parse(data);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      this.#emit("frame", frame("in", "?", data, data));
      this.#fail({ text: "the server sent text that is not JSON", adviceKey: "message" });
      return;
    }
    this.#emit("frame", frame("in", body?.header?.name ?? "?", data, body));
    if (this.state !== "over") this.#handle(body?.header ?? {}, body?.payload ?? {});
  }

  #handle(header, payload) {
    switch (header.name) {
      case "SynthesisStarted":
        if (this.state === "starting") this.state = "running";
        this.#emit("started", payload);
        this.#awaited.start?.resolve(payload);
        break;
      case "SentenceBegin":
        this.#emit("sentence-begin", payload);
        break;
      case "SentenceSynthesis":
        this.#emit("subtitles", payload);
        break;
      case "SentenceEnd":
        this.#emit("sentence-end", payload);
        break;
      case "SynthesisCompleted":
        this.state = "idle";
        this.#emit("completed", payload);
        this.#awaited.start?.resolve({});
        this.#awaited.stop?.resolve(payload);
        break;
      case "TaskFailed":
        this.#fail({
          status: header.status ?? 0,
          text: header.status_text || header.status_message || "the task failed",
        });
        break;
      default: // A newer server may say more than this page knows; the frame log shows it.
    }
  }

  #closed(code, reason) {
    const during = this.state;
    this.#emit("closed", { code, reason });
    if (during === "connecting") {
      this.#fail(unreachable(`no connection to the server (${code})`));
    } else if (during === "idle") {
      this.state = "over";
    } else {
      const why = reason ? `${code} ${reason}` : code;
      this.#fail({ text: `the connection broke (${why})`, adviceKey: "connection-lost" });
    }
  }

  #fail(failure) {
    const error = new AliyunError(failure);
    if (this.state === "over") return error;
    this.#end(error);
    this.#emit("failed", error);
    return error;
  }

  #end(error) {
    this.state = "over";
    this.#socket?.close(1000);
    for (const deadline of Object.values(this.#awaited)) deadline?.reject(error);
  }

  /** The promise for the server's answer; it always settles. */
  #await(name, timeoutMs) {
    let deadline = this.#awaited[name];
    if (deadline && !deadline.over) {
      deadline.extend(timeoutMs);
    } else {
      const text = `no answer from the server in time (${name})`;
      deadline = new Deadline(timeoutMs, () => this.#fail({ text, adviceKey: "silent" }));
      this.#awaited[name] = deadline;
    }
    return deadline.promise;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

function closedError() {
  return new AliyunError({ text: "the connection is closed", adviceKey: "closed" });
}

function unreachable(text) {
  return { text, adviceKey: "unreachable" };
}

function rejected(error) {
  const promise = Promise.reject(error);
  promise.catch(() => {});
  return promise;
}

function frame(direction, name, data, body) {
  const size = typeof data === "string" ? new TextEncoder().encode(data).length : data.byteLength;
  return { direction, atMs: performance.now(), name, size, body };
}
