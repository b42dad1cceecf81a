// Saves what is ticked as a CSV, a row for each tick; choosing a value ticks its box.
const ticks = [...document.querySelectorAll(".pick input")];
const ticked = () => ticks.filter((box) => box.checked);
const count = () => { document.querySelector(".decisions output").textContent = `${ticked().length} ticked`; };
for (const box of ticks) {
  box.onchange = count;
  box.nextElementSibling.onchange = () => { box.checked = true; count(); };
}
document.getElementById("save").onclick = (event) => {
  const rows = ticked().map((box) => ({ ...JSON.parse(box.dataset.cells), new_label: box.nextElementSibling.value }));
  const columns = ["row", "source", "split", "label", "new_label", "reason"];
  const line = (cells) => cells.map((cell) => `"${String(cell).replaceAll('"', '""')}"`).join(",") + "\n";
  const lines = [columns, ...rows.map((row) => columns.map((name) => row[name]))].map(line);
  const href = URL.createObjectURL(new Blob(lines, { type: "text/csv" }));
  Object.assign(document.createElement("a"), { href, download: event.target.dataset.file }).click();
};
