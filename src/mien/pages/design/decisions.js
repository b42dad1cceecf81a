// Saves what is ticked as a CSV, a row for each tick; choosing a value ticks its box.

import { csvText, download } from "./parts.js";

const COLUMNS = ["row", "source", "split", "label", "new_label", "reason"];
const ticks = [...document.querySelectorAll(".pick input")];
const ticked = () => ticks.filter((box) => box.checked);
const count = () => { document.querySelector(".decisions output").textContent = `${ticked().length} ticked`; };
for (const box of ticks) {
  box.onchange = count;
  box.nextElementSibling.onchange = () => { box.checked = true; count(); };
}
document.getElementById("save").onclick = ({ target }) => {
  const rows = ticked().map((box) => ({ ...JSON.parse(box.dataset.cells), new_label: box.nextElementSibling.value }));
  download(target.dataset.file, csvText([COLUMNS, ...rows.map((row) => COLUMNS.map((name) => row[name]))]), "text/csv");
};
