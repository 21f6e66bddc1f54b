// Two pruners side by side: accuracy, density and overlap of masks per layer, learning curves.
const drawPair = place => {
  if (data.pruners.length < 2) return place.closest("section").remove();
  const now = {f: 0, c: 0, one: 0, other: 1};
  const charts = make("div", {className: "charts"}), bar = make("div", {className: "choices"}), note = make("p", {className: "soft"});
  const compressions = f => [...new Set(data.points.filter(point => point.f === f && point.c > 1 && point.values.accuracy).map(point => point.c))].sort((a, b) => a - b);
  const names = data.pruners.map(({name}, p) => [p, name]);
  const draw = () => {
    const {f, c, one, other} = now, both = [one, other], {title} = data.facets[f];
    const side = {pruners: [PAIR, ...both]}; // whatever the legend hides
    clear(charts);
    chart(charts, `${title}: accuracy`, "compression", "accuracy", pointRows(f, "compression", "accuracy", both), {...side, references: reference(f)});
    const layers = layerRows(f, c, "density", both);
    if (layers.length) chart(charts, `weights kept per layer, ${number(c)}x`, "layer", "density", layers, {...side, names: data.layers[f].names});
    const overlaps = data.masks.overlaps.find(found => found.f === f && found.c === c);
    const rows = overlapRows(f, c, one, other, overlaps);
    if (rows.length) chart(charts, `overlap of masks per layer, ${number(c)}x`, "layer", "overlap", rows, {...side, names: data.masks.layers[f].map(layer => layer.name)});
    const curves = curveRows(f, c, both);
    if (curves.length) chart(charts, `learning curves, ${number(c)}x`, "epoch", "plain", curves, {...side, references: reference(f).slice(0, 1)});
    const whole = overlaps?.pairs[`${Math.min(one, other)} ${Math.max(one, other)}`]?.at(-1);
    note.textContent = rows.length
      ? `Overlap is the intersection over union (IoU) of the kept weights, 1 if both keep the same. Of the whole network it is ${number((whole ?? 0) / 1000)}; masks of equal density that are independent would reach about ${number(1 / (2 * c - 1))}. The dark line compares the two pruners at equal seeds; a line in a pruner's colour compares its own seeds.`
      : one === other ? "Choose two pruners." : "No masks were read for this place.";
  };
  const lists = () => {
    const found = compressions(now.f), middle = Math.floor((found.length - 1) / 2);
    now.c = found.includes(now.c) ? now.c : found[middle];
    bar.replaceChildren(
      choice("panel", data.facets.map(({title}, f) => [f, title]), value => { now.f = +value; lists(); draw(); }, now.f)[0],
      choice("pruner", names, value => { now.one = +value; draw(); }, now.one)[0],
      choice("beside", names, value => { now.other = +value; draw(); }, now.other)[0],
      choice("compression", found.map(c => [c, `${number(c)}x`]), value => { now.c = +value; draw(); }, found.indexOf(now.c))[0]);
  };
  lists();
  place.append(bar, charts, note);
  draw();
};
const overlapRows = (f, c, one, other, overlaps) => {
  if (!overlaps || one === other) return [];
  const between = overlaps.pairs[`${Math.min(one, other)} ${Math.max(one, other)}`] ?? [];
  const lines = [[PAIR, `${data.pruners[one].name} and ${data.pruners[other].name}`, between],
    ...[one, other].map(p => [p, `${data.pruners[p].name}, two seeds`, overlaps.seeds[p] ?? []])];
  return lines.flatMap(([p, pruner, values]) => values.slice(0, -1).map((value, layer) => ({p, pruner, c: layer, x: layer + 1,
    y: value == null ? null : value / 1000, value: value == null ? "–" : number(value / 1000), compression: `${number(c)}x`,
    layer: data.masks.layers[f][layer].name})));
};
