// Light, dark, or as the system has it.

const THEMES = ["auto", "light", "dark"];

/**
 * Connects the switch; what was chosen is remembered.
 *
 * @param {HTMLSelectElement} select
 * @param {import("./memory.js").Memory} memory
 * @param {() => void} changed draws anew what is drawn by scripts
 */
export function connectTheme(select, memory, changed) {
  const kept = memory.read("theme", "auto");
  select.value = THEMES.includes(kept) ? kept : "auto";
  const show = () => {
    document.documentElement.dataset.theme = select.value;
  };
  select.addEventListener("change", () => {
    memory.write("theme", select.value);
    show();
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  show();
}
