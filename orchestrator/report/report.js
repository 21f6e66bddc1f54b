for (const head of document.querySelectorAll(".sorts thead th")) head.onclick = () => {
  const table = head.closest("table"), body = table.tBodies[0], column = head.cellIndex;
  const up = head.getAttribute("aria-sort") !== "descending" && !!head.getAttribute("aria-sort") ? -1 : 1;
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
for (const box of document.querySelectorAll(".filter")) box.oninput = () => {
  const words = box.value.toLowerCase().split(/\s+/);
  for (const row of box.nextElementSibling.querySelector("tbody").rows)
    row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
};
