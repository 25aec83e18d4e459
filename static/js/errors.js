// What went wrong, in the user's language: what it is called, what the server said, what to do.

/**
 * @typedef {object} Failure of AliyunClient, Player or Server
 * @property {number} [status] the protocol's number, 0 or none if the server did not say it
 * @property {string} text as it was said
 * @property {string} adviceKey
 *
 * @param {Failure} failure
 * @param {import("./i18n.js").I18n} i18n
 * @returns {{title: string, code: string, text: string, advice: string}}
 */
export function explain({ status, text, adviceKey }, i18n) {
  const key = i18n.has(`error.${adviceKey}`) ? adviceKey : "unknown";
  return {
    title: i18n.t(`error.${key}`),
    code: status ? String(status) : "",
    text,
    advice: i18n.t(`error.${key}.advice`),
  };
}
