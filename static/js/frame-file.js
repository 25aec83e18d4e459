// A frame log as a file, and what is needed of such a file to say the same again.

const KIND = "cosystream-frames/1";
const SECRET = /token|authorization/i;

/**
 * @typedef {object} Frame
 * @property {"in" | "out"} direction
 * @property {number} atMs
 * @property {string} name
 * @property {number} size bytes
 * @property {any} body null for audio
 */

/**
 * @param {Frame[]} frames
 * @returns {string} JSON; times count from the first frame. There are no addresses in it, and
 *   nothing that is called a token
 */
export function writeFrames(frames) {
  const beginMs = frames[0]?.atMs ?? 0;
  const rows = frames.map(({ direction, atMs, name, size, body }) => ({
    direction,
    at_ms: Math.round((atMs - beginMs) * 1000) / 1000,
    name,
    size,
    ...(body === null ? {} : { body }),
  }));
  const withoutSecrets = (key, value) => (SECRET.test(key) ? undefined : value);
  return JSON.stringify({ kind: KIND, frames: rows }, withoutSecrets, 1);
}

/**
 * @param {string} json
 * @returns {{parameters: Record<string, any>, pieces: Array<{text: string, atMs: number}>}} the
 *   first task's request and its text as it came
 * @throws {SyntaxError} it is no such file
 */
export function readFrames(json) {
  const { kind, frames } = JSON.parse(json) ?? {};
  if (kind !== KIND || !Array.isArray(frames)) throw new SyntaxError(`no ${KIND}`);
  const sent = frames.filter(({ direction }) => direction === "out");
  const start = sent.findIndex(({ name }) => name === "StartSynthesis");
  if (start < 0) throw new SyntaxError("no StartSynthesis in it");
  const taskId = sent[start].body.header.task_id;
  const pieces = sent
    .filter(({ name, body }) => name === "RunSynthesis" && body.header.task_id === taskId)
    .map(({ at_ms, body }) => ({ text: body.payload.text, atMs: at_ms }));
  return { parameters: sent[start].body.payload, pieces };
}
