// Tables: sorted by their heads, filtered by words, copied as CSV.
for (const table of document.querySelectorAll(".sorts")) for (const head of table.tHead.rows[0].cells) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.onclick = () => {
    const body = table.tBodies[0], column = head.cellIndex;
    const up = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up > 0 ? "ascending" : "descending");
    const value = row => { const cell = row.cells[column]; return cell.dataset.value ?? cell.textContent.trim(); };
    const number = text => text === "" ? NaN : Number(text.replace(/x$/, ""));
    body.append(...[...body.rows].sort((a, b) => {
      const [p, q] = [value(a), value(b)], [m, n] = [number(p), number(q)];
      if (isNaN(m) || isNaN(n)) return isNaN(m) && isNaN(n) ? up * p.localeCompare(q) : isNaN(m) ? 1 : -1; // words last
      return up * (m - n);
    }));
  };
}
for (const box of document.querySelectorAll(".filter")) box.oninput = () => {
  const words = box.value.toLowerCase().split(/\s+/), place = box.nextElementSibling;
  let left = 0;
  for (const row of place.querySelector("tbody").rows) {
    row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
    left += !row.hidden;
  }
  box.title = `${left} rows`;
};
const offerCsv = files => {
  for (const place of document.querySelectorAll("[data-csv]")) {
    const text = files[place.dataset.csv];
    if (!text) continue;
    const copy = document.createElement("button"), file = document.createElement("a");
    Object.assign(copy, {type: "button", textContent: "copy CSV"});
    copy.onclick = async () => {
      try { await navigator.clipboard.writeText(text); } catch { // not allowed here: the older way
        const area = document.createElement("textarea");
        area.value = text;
        document.body.append(area);
        area.select();
        document.execCommand("copy");
        area.remove();
      }
      copy.textContent = "copied";
      setTimeout(() => copy.textContent = "copy CSV", 1500);
    };
    Object.assign(file, {href: URL.createObjectURL(new Blob([text], {type: "text/csv"})), download: place.dataset.csv, textContent: place.dataset.csv});
    place.append(copy, file);
  }
};
