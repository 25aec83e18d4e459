// The page that shows openapi.json.

import { sections } from "./api-schema.js";
import { ApiView, prose } from "./api-view.js";
import { byId, element } from "./dom.js";
import { I18n, preferredLocale } from "./i18n.js";
import { Memory } from "./memory.js";
import { en } from "./messages/en.js";
import { zh } from "./messages/zh.js";
import { connectTheme } from "./theme.js";

const CATALOGS = { en, zh };

const memory = new Memory();
const kept = memory.read("locale", "");
const i18n = new I18n(
  CATALOGS,
  kept in CATALOGS ? kept : preferredLocale(navigator.languages, Object.keys(CATALOGS)),
);

connectTheme(byId("theme"), memory, () => {});
byId("locale").value = i18n.locale;
byId("locale").addEventListener("change", ({ target }) => {
  memory.write("locale", target.value);
  i18n.setLocale(target.value);
});
i18n.apply();

/** The operation that the address names is opened and shown. */
function openNamed() {
  const named = document.getElementById(location.hash.slice(1));
  if (!(named instanceof HTMLDetailsElement)) return;
  named.open = true;
  named.scrollIntoView();
}

async function load() {
  try {
    const answer = await fetch("openapi.json");
    return answer.ok ? await answer.json() : null;
  } catch {
    return null; // The server is gone, or cut its answer off.
  }
}

function show(api) {
  const found = sections(api);
  const view = new ApiView(api, i18n);
  byId("api-version").textContent = `${api.info.title} ${api.info.version}`;
  byId("api-contents").append(...view.contents(found));
  byId("api").replaceChildren(
    element("section", { lang: "en" }, ...prose(api.info.description)),
    ...found.map((one) => view.section(one)),
  );
  openNamed();
}

addEventListener("hashchange", openNamed);
const api = await load();
if (api) show(api);
else byId("api-status").dataset.i18n = "admin.unreachable";
i18n.apply();
document.documentElement.dataset.state = api ? "done" : "failed";
