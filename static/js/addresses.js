// Where the server is, seen from the page: it may lie under a sub path behind a proxy.

const PAGE = /ws\/v1\/tts\/test\/?$/;
const SPEECH = /ws\/v1(\/tts)?\/?$/;

/**
 * The address that all others are relative to, with a slash at its end.
 *
 * @param {string} url the page's own address, or any of the server's WebSocket addresses
 * @returns {URL} http or https, without query and fragment
 */
export function serverBase(url) {
  const base = new URL(url);
  base.search = "";
  base.hash = "";
  base.protocol = base.protocol.replace(/^ws/, "http");
  const path = base.pathname.replace(PAGE, "").replace(SPEECH, "");
  base.pathname = path.slice(0, path.lastIndexOf("/") + 1);
  return base;
}

/**
 * @param {string} url as for `serverBase`
 * @returns {string} the WebSocket address of streaming speech
 */
export function speechAddress(url) {
  const address = new URL("ws/v1/tts", serverBase(url));
  address.protocol = address.protocol.replace(/^http/, "ws");
  return address.href;
}

/**
 * @param {string} url as for `serverBase`
 * @returns {string} the address of speech over plain HTTP
 */
export function restAddress(url) {
  return new URL("stream/v1/tts", serverBase(url)).href;
}
