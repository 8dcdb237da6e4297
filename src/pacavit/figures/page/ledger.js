// Filters of the ledger: a row stays that fits all of them.
"use strict";
for (const form of document.querySelectorAll("[data-filters]")) {
  const rows = [...document.querySelectorAll(`#${form.dataset.filters} tbody tr`)];
  const count = form.querySelector("[data-part='count']");
  const apply = () => {
    const asked = new FormData(form);
    const words = asked.get("text").toLowerCase().split(/\s+/).filter(Boolean);
    const verdicts = new Set(asked.getAll("verdict"));
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const fits =
        (!asked.get("task") || row.dataset.task === asked.get("task")) &&
        (!asked.get("metric") || row.dataset.metric === asked.get("metric")) &&
        verdicts.has(row.dataset.verdict) &&
        words.every((word) => text.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} published numbers`;
  };
  form.addEventListener("input", apply);
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("submit", (event) => event.preventDefault());
  apply();
}
