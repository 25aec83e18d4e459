// What the server says of a recording, in the user's language.

/**
 * @typedef {object} Report as in server/speech/recording_report.py
 * @property {{code: string, text: string}[]} remarks
 * @property {number} seconds of the part that is used
 * @property {number} recorded_s
 * @property {number} sample_rate_hz
 * @property {number} speech_share
 * @property {number} snr_db
 * @property {number} peak_db
 * @property {number} clipped_share
 *
 * @param {Report} report
 * @param {import("./i18n.js").I18n} i18n
 * @returns {{remarks: string[], facts: [string, string][]}} sentences; names with values
 */
export function describeReport(report, i18n) {
  const number = (value, digits) => i18n.number(value, digits);
  const length = { used: number(report.seconds, 1), all: number(report.recorded_s, 1) };
  return {
    remarks: report.remarks.map(({ code, text }) => {
      const key = `clone.remark.${code}`;
      // A newer server may have remarks that this page does not know.
      return i18n.has(key) ? i18n.t(key, length) : text;
    }),
    facts: [
      [i18n.t("clone.fact.length"), i18n.t("clone.fact.length.value", length)],
      [i18n.t("clone.fact.speech"), `${number(100 * report.speech_share)} %`],
      [i18n.t("clone.fact.snr"), `${number(report.snr_db)} dB`],
      [i18n.t("clone.fact.peak"), `${number(report.peak_db, 1)} dB`],
      [i18n.t("clone.fact.clipped"), `${number(100 * report.clipped_share, 2)} %`],
      [i18n.t("clone.fact.rate"), `${number(report.sample_rate_hz)} Hz`],
    ],
  };
}
