// Masks as pictures: a row per layer, a column per pruner or per seed; below, how far masks overlap.
const shade = level => { // of a density from 0.0001 (1) to 1 (15), on a logarithmic scale; 0: nothing is kept
  if (!level) return [0, 0, 0, 0];
  const share = (level - 1) / 14, [from, to] = dark.matches ? [[30, 58, 95], [190, 225, 255]] : [[214, 230, 245], [8, 48, 107]];
  return [...from.map((start, i) => Math.round(start + share * (to[i] - start))), 255];
};
const pictureOf = (text, rows, columns) => {
  const canvas = make("canvas", {width: columns, height: rows}), pen = canvas.getContext("2d"), image = pen.createImageData(columns, rows);
  [...text].forEach((letter, i) => image.data.set(shade(parseInt(letter, 16)), 4 * i));
  pen.putImageData(image, 0, 0);
  return canvas;
};
const drawMasks = place => {
  const {side, layers, runs, overlaps, read, trials} = data.masks, all = Object.entries(runs).map(([id, run]) => ({id, ...run}));
  if (!all.length) return place.closest("section").remove();
  const now = {f: all[0].f, c: 0, columns: "pruners", which: 0, layer: -1};
  const bar = make("div", {className: "choices"}), said = make("p", {className: "readout"}), grid = make("div", {className: "wide masks"});
  const table = make("div", {className: "wide"}), layerChoice = make("div", {className: "choices"});
  said.setAttribute("aria-live", "polite");
  const unique = (key, rows) => [...new Set(rows.map(row => row[key]))].sort((a, b) => a - b);
  const lists = () => {
    const here = all.filter(run => run.f === now.f), found = unique("c", here), key = now.columns === "pruners" ? "seed" : "p";
    now.c = found.includes(now.c) ? now.c : found[Math.floor((found.length - 1) / 2)];
    const which = unique(key, here.filter(run => run.c === now.c));
    now.which = which.includes(now.which) ? now.which : which[0];
    now.layer = Math.min(now.layer, layers[now.f].length - 1);
    const set = (key, value) => { now[key] = value; lists(); draw(); };
    bar.replaceChildren(
      choice("panel", unique("f", all).map(f => [f, data.facets[f].title]), value => set("f", +value), unique("f", all).indexOf(now.f))[0],
      choice("compression", found.map(c => [c, `${number(c)}x`]), value => set("c", +value), found.indexOf(now.c))[0],
      choice("a column per", [["pruners", "pruner"], ["seeds", "seed"]], value => set("columns", value), now.columns === "pruners" ? 0 : 1)[0],
      choice(key === "seed" ? "seed" : "pruner", which.map(one => [one, key === "p" ? data.pruners[one].name : one]), value => set("which", +value), which.indexOf(now.which))[0]);
    layerChoice.replaceChildren(choice("overlap in", [[-1, "the whole network"], ...layers[now.f].map(({name}, layer) => [layer, name])],
      value => { now.layer = +value; drawOverlap(); }, now.layer + 1)[0]);
  };
  const draw = () => {
    const columns = all.filter(run => run.f === now.f && run.c === now.c && run[now.columns === "pruners" ? "seed" : "p"] === now.which)
      .sort((a, b) => a.p - b.p || a.seed - b.seed);
    const head = make("tr", {}, make("th", {textContent: "layer"}), ...columns.map(run => {
      const cell = make("th", {scope: "col"}, ...(now.columns === "pruners" ? [swatch(run.p), data.pruners[run.p].name] : [`seed ${run.seed}`]));
      if (run.cut.length) cell.append(make("div", {className: "hole", textContent: `cut at ${run.cut.map(layer => layer + 1).join(", ")}`}));
      return cell;
    }));
    const starts = columns.map(() => 0), body = make("tbody");
    layers[now.f].forEach(({name, shape}, layer) => {
      const [rows, inputs] = [Math.min(side, shape[0]), Math.min(side, shape[1])], size = shape.reduce((a, b) => a * b);
      const line = make("tr", {}, make("th", {scope: "row"}, name, make("div", {className: "soft", textContent: shape.join(" × ")})));
      columns.forEach((run, i) => {
        const canvas = pictureOf(run.picture.slice(starts[i], starts[i] += rows * inputs), rows, inputs), cut = run.cut.includes(layer);
        const words = `${data.pruners[run.p].name}, seed ${run.seed}, ${name}: ${run.kept[layer]} of ${size} weights kept (${number(100 * run.kept[layer] / size)} %), in ${run.rows[layer]} of ${shape[0]} filters, from ${run.columns[layer]} of ${shape[1]} inputs${cut ? "; the network is cut here" : ""}`;
        const tile = make("button", {type: "button", className: cut ? "tile cut" : "tile", title: words}, canvas, make("span", {textContent: `${number(100 * run.kept[layer] / size)} %`}));
        tile.setAttribute("aria-label", words);
        tile.onclick = tile.onfocus = () => said.replaceChildren(words + " · run ", runLink(run.id));
        line.append(make("td", {}, tile));
      });
      body.append(line);
    });
    grid.replaceChildren(make("table", {}, make("thead", {}, head), body));
    drawOverlap();
  };
  const drawOverlap = () => {
    const found = overlaps.find(one => one.f === now.f && one.c === now.c), here = unique("p", all.filter(run => run.f === now.f && run.c === now.c));
    const value = (p, q) => (p === q ? found.seeds[p] : found.pairs[`${Math.min(p, q)} ${Math.max(p, q)}`])?.at(now.layer);
    const rows = here.map(p => make("tr", {}, make("th", {scope: "row"}, swatch(p), data.pruners[p].name), ...here.map(q => {
      const iou = value(p, q), cell = make("td", {textContent: iou == null ? "–" : (iou / 1000).toFixed(2), className: p === q ? "own" : ""});
      if (iou != null) cell.style.setProperty("--share", `${iou / 10}%`);
      return cell;
    })));
    table.replaceChildren(make("table", {className: "numbers overlaps"}, make("caption", {textContent: "overlap (IoU): between pruners at equal seeds; on the diagonal between a pruner's own seeds"}),
      make("thead", {}, make("tr", {}, make("th", {}), ...here.map(p => make("th", {scope: "col", textContent: data.pruners[p].name})))), make("tbody", {}, ...rows)));
  };
  lists();
  place.append(bar, grid, said, layerChoice, table);
  if (read < trials) place.append(make("p", {className: "soft", textContent: `Masks of ${read} of ${trials} trials were read: the others are missing, or too large for a page.`}));
  draw();
  dark.addEventListener("change", draw);
};
