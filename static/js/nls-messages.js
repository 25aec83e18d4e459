// What Aliyun's NLS messages look like; see docs/protocols/aliyun.md.

const NAMESPACE = "FlowingSpeechSynthesizer";
/** The server takes 20,000 in one message, where a Han character counts 2. */
const PIECE_LENGTH = 8000;

/**
 * @param {string} name StartSynthesis, RunSynthesis, FlushText or StopSynthesis
 * @param {{taskId: string, appkey: string, payload: object}} task
 * @returns {object} ready for JSON
 */
export function message(name, { taskId, appkey, payload }) {
  const header = { appkey, message_id: newId(), task_id: taskId, namespace: NAMESPACE, name };
  return { header, payload };
}

/** 32 hexadecimal digits; `crypto.randomUUID` is missing on pages that came over plain HTTP. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Cuts a text of any length into what one RunSynthesis may carry, never within a character.
 *
 * @param {string} text
 * @returns {Generator<string>}
 */
export function* messageTexts(text) {
  for (let begin = 0; begin < text.length; ) {
    let end = Math.min(begin + PIECE_LENGTH, text.length);
    if (end < text.length && isHighSurrogate(text.charCodeAt(end - 1))) end -= 1;
    yield text.slice(begin, end);
    begin = end;
  }
}

function isHighSurrogate(unit) {
  return unit >= 0xd800 && unit < 0xdc00;
}
