// The server's HTTP endpoints, wherever it lies.

import { serverBase, speechAddress } from "./addresses.js";

/** Any will do; some servers are set to want one. */
const APPKEY = "cosystream";

/**
 * `adviceKey` as in AliyunError; `status` is the vendor's number, or 0; `report` is of a recording
 * that was refused.
 */
export class ServerError extends Error {
  /**
   * @param {{status?: number, text: string, adviceKey: string,
   *   report?: import("./recording-report.js").Report}} failure
   */
  constructor({ status = 0, text, adviceKey, report }) {
    super(text);
    this.name = "ServerError";
    this.status = status;
    this.text = text;
    this.adviceKey = adviceKey;
    this.report = report;
  }
}

export class Server {
  /**
   * @param {string} pageUrl the page's own address
   * @param {() => string} token "" for none
   */
  constructor(pageUrl, token) {
    this.base = serverBase(pageUrl);
    this.speechUrl = speechAddress(pageUrl);
    this.token = token;
  }

  /** @returns {Promise<{models: object[], voices: object[]}>} */
  voices() {
    return this.#json("stream/v1/tts/voices/info");
  }

  /** @returns {Promise<object>} version, sessions, queue and workers */
  status() {
    return this.#json("status");
  }

  /**
   * @param {object} body of the HTTP synthesis
   * @param {AbortSignal} signal
   * @returns {Promise<Blob>}
   */
  async speech(body, signal) {
    const headers = { "Content-Type": "application/json" };
    const request = {
      method: "POST",
      headers,
      body: JSON.stringify({ appkey: APPKEY, ...body }),
      signal,
    };
    return this.#ask("stream/v1/tts", request, "blob");
  }

  /**
   * @param {{name: string, text: string, audio: Blob, fileName: string}} recording text: what is
   *   said in it
   * @returns {Promise<{name: string, report: import("./recording-report.js").Report}>}
   */
  async clone({ name, text, audio, fileName }) {
    const body = new FormData();
    body.append("name", name);
    body.append("text", text);
    body.append("audio", audio, fileName);
    return this.#ask("v1/voices", { method: "POST", body }, "json");
  }

  /** @param {string} name of a cloned voice */
  async forget(name) {
    await this.#ask(`v1/voices/${encodeURIComponent(name)}`, { method: "DELETE" }, "text");
  }

  #json(path) {
    return this.#ask(path, {}, "json");
  }

  /** @param {"json" | "blob" | "text"} kind of what is answered */
  async #ask(path, { headers = {}, ...request }, kind) {
    const token = this.token();
    let response;
    try {
      response = await fetch(new URL(path, this.base), {
        ...request,
        headers: token ? { ...headers, "X-NLS-Token": utf8(token) } : headers,
        referrerPolicy: "no-referrer",
      });
    } catch (error) {
      throw failure(error, "unreachable");
    }
    if (!response.ok) throw await refusal(response);
    try {
      return await response[kind]();
    } catch (error) {
      // It broke off in the middle, or is a proxy's page instead of JSON.
      throw failure(error, error instanceof SyntaxError ? "message" : "connection-lost");
    }
  }
}

/** Headers take bytes only, which a string of Latin-1 stands for. */
function utf8(text) {
  return String.fromCharCode(...new TextEncoder().encode(text));
}

function failure(error, adviceKey) {
  if (error.name === "AbortError") return error;
  return new ServerError({ text: error.message, adviceKey });
}

const ADVICE = new Map([
  [401, "token"],
  [403, "token"],
  [429, "busy"],
  [503, "busy"],
]);

async function refusal(response) {
  const fallback = response.status < 500 ? "parameter" : "server";
  const adviceKey = ADVICE.get(response.status) ?? fallback;
  let said = {};
  try {
    said = await response.json();
  } catch {
    // A proxy's page in HTML: the status line has to do.
  }
  const nested = typeof said.error === "object" ? said.error?.message : said.error;
  const text = said.message ?? nested ?? `HTTP ${response.status} ${response.statusText}`;
  const { report } = said.error ?? {};
  return new ServerError({ status: said.status ?? response.status, text, adviceKey, report });
}
