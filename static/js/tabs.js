// Tabs as the ARIA authoring practices have them: arrows move, the panel follows.

/** @param {HTMLElement} list has `role="tablist"`; its tabs name their panels by `aria-controls` */
export function connectTabs(list) {
  const tabs = [...list.querySelectorAll('[role="tab"]')];
  list.addEventListener("click", ({ target }) => {
    const tab = target.closest('[role="tab"]');
    if (tab) select(tabs, tab);
  });
  list.addEventListener("keydown", (event) => {
    const shown = tabs.filter((tab) => !tab.hidden);
    const at = shown.indexOf(document.activeElement);
    const to = {
      ArrowRight: (at + 1) % shown.length,
      ArrowLeft: (at - 1 + shown.length) % shown.length,
      Home: 0,
      End: shown.length - 1,
    }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    select(tabs, shown[to]);
    shown[to].focus();
  });
}

function select(tabs, chosen) {
  for (const tab of tabs) {
    tab.setAttribute("aria-selected", String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
  }
  chosen.dispatchEvent(new Event("shown", { bubbles: true }));
}
