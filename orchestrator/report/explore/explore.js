// Charts of the page. Each is drawn when it comes into view; legend and pair view share their data.
const unpack = async id => {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), letter => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
};
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
let data, library;
const PAIR = -1; // in the place of a pruner's number: a line of two pruners, or of none
const shown = new Set(), views = new Set(); // pruners by number; views of charts, each with a parameter `shown`
const withLibrary = () => library ??= unpack("library").then(script =>
  document.head.append(make("script", {textContent: `(() => {${script}\n})()`})));

const dark = matchMedia("(prefers-color-scheme: dark)");
const onPaper = color => { // dark colours are lightened on dark paper, pale ones are darkened on white
  const parts = [1, 3, 5].map(start => parseInt(color.slice(start, start + 2), 16));
  const light = (0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2]) / 255;
  if (!dark.matches || light > .5) return color;
  return "#" + parts.map(part => Math.round(part + (255 - part) * (.6 - light)).toString(16).padStart(2, "0")).join("");
};
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const number = value => value == null ? "–" : Math.abs(value) >= 1e4 ? value.toExponential(2) : String(+value.toPrecision(4));
const runLink = run => make("a", {href: `${data.server}${run}`, textContent: run.slice(0, 8), target: "_blank", rel: "noopener"});

// ---- What is drawn: an axis knows how a point's value is found, and how it is written.
const ERROR = 100.5; // accuracies are stretched towards 100 %: the axis is logarithmic in 100.5 minus the accuracy
const ROUND = [90, 50, 99, 10, 95, 80, 98, 70, 94, 85, 92, 30, 96, 97, 60, 93, 91, 40, 75, 99.5, 100, 20, 0]; // roundest first
const spaced = (domain, candidates, room) => { // as many of the candidates as have room, the first ones first
  const [low, high] = [Math.min(...domain), Math.max(...domain)], chosen = [], span = Math.log(high / low);
  for (const tick of candidates)
    if (tick >= low && tick <= high && chosen.every(other => Math.abs(Math.log(tick / other)) >= room * span)) chosen.push(tick);
  return chosen.sort((a, b) => a - b);
};
const TICKS = { // of zoomed axes too
  errorTicks: domain => {
    const round = spaced(domain, ROUND.map(tick => ERROR - tick), .08), halves = Array.from({length: 200}, (_, i) => i / 2);
    return round.length > 2 ? round : spaced(domain, [...ROUND, ...halves].map(tick => ERROR - tick), .1);
  },
  logTicks: domain => {
    const low = Math.floor(Math.log10(Math.min(...domain))), high = Math.ceil(Math.log10(Math.max(...domain)));
    const powers = Array.from({length: high - low + 1}, (_, i) => 10 ** (low + i)), times = factor => powers.map(power => +(power * factor).toPrecision(3));
    return spaced(domain, [1, 5, 2, 3, 7, 1.5, 4, 6, 8, 9, 1.2, 1.1].flatMap(times), .11);
  },
};
const AXES = {
  compression: {title: "compression", type: "log", write: "format(datum.value, '~g') + 'x'"},
  accuracy: {title: "test accuracy (%)", type: "log", reverse: true, from: value => ERROR - value,
    write: `format(${ERROR} - datum.value, '~r')`, ticks: "errorTicks"},
  plain: {title: "test accuracy (%)", type: "linear"},
  macs: {title: "MACs kept (% of dense)", type: "log"},
  params: {title: "parameters kept (% of dense)", type: "log"},
  speedup: {title: "speedup over dense", type: "log"},
  training: {title: "total training cost (% of dense)", type: "log"},
  density: {title: "weights kept (%)", type: "log"},
  "layer-macs": {title: "MACs kept", type: "log"},
  epoch: {title: "epoch", type: "linear"},
  layer: {title: "", type: "linear"},
  overlap: {title: "overlap of masks (IoU)", type: "linear"},
};
const CHARTS = { // figures that can be explored: their axes
  accuracy: ["compression", "accuracy"], macs: ["compression", "macs"], params: ["compression", "params"],
  speedup: ["compression", "speedup"], tradeoff: ["macs", "accuracy"], "tradeoff-speedup": ["speedup", "accuracy"],
  "tradeoff-training": ["training", "accuracy"],
};

// ---- Rows of a chart: one per mark, with all that its tooltip says.
const pointRows = (f, x, y, pruners) => data.points.filter(point => point.f === f && (!pruners || pruners.includes(point.p)))
  .flatMap(point => {
    const at = x === "compression" ? [point.c] : point.values[x], found = point.values[y];
    const row = {p: point.p, pruner: data.pruners[point.p].name, c: point.c, compression: `${number(point.c)}x`, runs: point.runs};
    if (point.lost && x === "compression") return [{...row, x: at[0], lost: true, value: point.missing}];
    if (!at || !found) return [];
    const [mean, low, high, n, from, to] = found;
    return [{...row, x: at[0], y: mean, low, high, hollow: point.collapsed > 0, value: number(mean),
      cost: x === "compression" ? undefined : number(at[0]),
      interval: from == null ? undefined : `${number(from)} to ${number(to)}`,
      range: n > 1 ? `${number(low)} to ${number(high)}` : undefined,
      n: `${n} (${point.seeds.length > 1 ? "seeds" : "seed"} ${point.seeds.join(", ")})`,
      collapsed: point.collapsed ? `${point.collapsed} of ${point.seeds.length} runs` : undefined,
      missing: point.missing || undefined}];
  });
const layerRows = (f, c, y, pruners) => data.layers[f].lines.filter(line => line.c === c && (!pruners || pruners.includes(line.p)))
  .flatMap(line => line[y].map((value, layer) => ({p: line.p, pruner: data.pruners[line.p].name, c: layer, x: layer + 1, y: value || null, lost: value === 0,
    value: value === 0 ? "0, an empty layer" : number(value), layer: data.layers[f].names[layer], compression: `${number(c)}x`, n: `1 (seed ${line.seed})`})));
const evenRows = (f, c) => data.layers[f].macs.map((macs, layer) => ({p: PAIR, pruner: "same share in every layer", c: layer, x: layer + 1, y: macs / c,
  value: number(macs / c), layer: data.layers[f].names[layer], compression: `${number(c)}x`}));
const curveRows = (f, c, pruners) => data.curves.filter(curve => curve.f === f && curve.c === c && (!pruners || pruners.includes(curve.p)))
  .flatMap(curve => curve.epoch.map((epoch, i) => ({p: curve.p, pruner: data.pruners[curve.p].name, c: epoch, x: epoch, y: curve.y[i],
    plain: (i + curve.p) % Math.max(1, Math.floor(curve.epoch.length / 5)) > 0,
    low: curve.low[i], high: curve.high[i], value: number(curve.y[i]), epoch, compression: `${number(c)}x`,
    range: curve.n > 1 ? `${number(curve.low[i])} to ${number(curve.high[i])}` : undefined, n: curve.n})));
const SAYS = [["pruner"], ["compression"], ["layer"], ["epoch"], ["value"], ["cost"], ["interval", "95 % interval"],
  ["range", "range"], ["n"], ["collapsed"], ["missing", "without result"]];

const TIP = {expr: "datum.tip"};
const tipOf = (row, rows, titles) => { // what a tooltip says of a mark: only what is known of it
  const same = rows.filter(other => other.x === row.x && other.p !== row.p && other.y === row.y).map(other => other.pruner);
  return Object.fromEntries([["title", row.pruner], ...SAYS.slice(1).filter(([key]) => row[key] != null).map(([key, name]) => [titles[key] ?? name ?? key, row[key]]),
    ...(same.length && row.y != null ? [["the same", same.join(", ")]] : [])]);
};

// ---- A chart as Vega-Lite has it.
const axisOf = (name, rows, channel, names) => {
  const known = AXES[name], values = rows.flatMap(row => channel === "x" ? [row.x] : [row.y, row.low, row.high]).filter(value => value != null);
  const ends = known.type === "log" ? values.filter(value => value > 0) : values;
  let [low, high] = [Math.min(...ends), Math.max(...ends)];
  const axis = {title: channel === "y" || name !== "layer" ? known.title : null, grid: true, tickCount: 6, labelOverlap: "greedy",
    labelExpr: known.write ?? "format(datum.value, datum.value < 1000 ? '~g' : '~s')"};
  if (name === "compression") axis.values = [...new Set(rows.map(row => row.x))].sort((a, b) => a - b);
  else if (known.type === "log") axis.values = {expr: `${known.ticks ?? "logTicks"}(domain('${channel}'))`};
  if (name === "epoch") axis.tickMinStep = 1;
  if (names) Object.assign(axis, {values: names.map((_, i) => i + 1), labelAngle: -40, labelLimit: 90, labelFontSize: 9,
    labelOverlap: names.length > 24 && "greedy", labelExpr: `${JSON.stringify(names)}[datum.value - 1] || ''`});
  const pad = known.type === "log" ? Math.max(1.04, (high / low) ** .04) : (high - low) * .05 || 1;
  const domain = name === "layer" ? [.6, high + .4] : known.type === "log" ? [low / pad, high * pad] : [low - pad, high + pad];
  if (name === "overlap") domain[0] = 0;
  if (name === "accuracy") domain[0] = Math.max(.45, domain[0]);
  return {field: channel, type: "quantitative", axis, scale: {type: known.type, domain, nice: false, ...(known.type === "linear" ? {zero: false} : {}), reverse: !!known.reverse !== (channel === "x" && ["macs", "training"].includes(name))}};
};
const byPruner = look => ({field: "p", type: "nominal", legend: null,
  scale: {domain: [PAIR, ...data.pruners.map((_, p) => p)], range: [{color: css("--ink"), dash: [], shape: "circle"}, ...data.pruners].map(look)}});
const specOf = (title, x, y, rows, {references = [], names, height = names ? 290 : 250, pruners} = {}) => {
  const from = AXES[y].from ?? (value => value), titles = {value: AXES[y].title, cost: AXES[x].title};
  const values = rows.map((row, id) => ({...row, id, tip: tipOf(row, rows, titles), words: Object.values(tipOf(row, rows, titles)).join(", "), y: row.y == null ? null : from(row.y),
    low: row.low == null ? null : from(row.low), high: row.high == null ? null : from(row.high)}));
  const lines = references.filter(one => one.y != null).map(one => ({...one, y: from(one.y)}));
  const drawn = values.filter(row => !row.lost);
  const X = axisOf(x, values, "x", names), Y = axisOf(y, [...drawn, ...lines], "y");
  const encoding = {x: X, y: Y, color: byPruner(pruner => onPaper(pruner.color))};
  const layer = [];
  if (lines.length) layer.push(
    {data: {values: lines}, mark: {type: "rule", strokeDash: [4, 3], color: css("--soft"), opacity: .7}, encoding: {y: {field: "y", type: "quantitative"}}},
    {data: {values: lines}, mark: {type: "text", align: {expr: "datum.label === 'chance' ? 'left' : 'right'"}, dy: {expr: "datum.label === 'dense' ? 8 : -6"},
      fontSize: 10, color: css("--soft"), clip: true}, encoding: {y: {field: "y", type: "quantitative"}, x: {value: {expr: "datum.label === 'chance' ? 3 : width - 3"}}, text: {field: "label"}}});
  if (drawn.some(row => row.low !== row.high && row.low != null)) layer.push({transform: [{filter: "!datum.lost"}],
    mark: {type: "area", opacity: .13, clip: true}, encoding: {...encoding, y: {...Y, field: "low"}, y2: {field: "high"}}});
  layer.push({params: [{name: "zoom", bind: "scales", select: {type: "interval", zoom: "wheel![event.ctrlKey || event.shiftKey]"}}],
    mark: {type: "line", strokeWidth: 1.8, clip: true},
    encoding: {...encoding, order: {field: "c", type: "quantitative"}, strokeDash: byPruner(pruner => pruner.dash.length ? pruner.dash : [1, 0])}});
  layer.push({transform: [{filter: "!datum.lost && !datum.plain"}], mark: {type: "point", size: 42, opacity: 1, clip: true, strokeWidth: 1.4},
    encoding: {x: X, y: Y, stroke: encoding.color, shape: byPruner(pruner => pruner.shape), fill: {condition: {test: "datum.hollow", value: css("--paper")},
      ...byPruner(pruner => onPaper(pruner.color))}}});
  if (values.some(row => row.lost)) layer.push({transform: [{filter: "datum.lost"}],
    mark: {type: "point", shape: "M-1 -1L1 1M-1 1L1 -1", size: 40, strokeWidth: 1.6, clip: true, tooltip: TIP}, encoding: {x: X, color: encoding.color, y: {value: {expr: "height - 8"}}}});
  layer.push({transform: [{filter: "datum.id === chosen"}], mark: {type: "point", size: 260, filled: false, strokeWidth: 2, clip: true},
    encoding: {x: X, y: Y, color: {value: css("--ink")}}});
  layer.push({transform: [{filter: "!datum.lost"}], mark: {type: "point", size: 130, filled: true, opacity: .001, clip: true, tooltip: TIP},
    encoding: {...encoding, description: {field: "words"}}}); // easy to hit, and read out by screen readers
  const soft = css("--soft"), rule = css("--rule");
  return {rows: values, spec: {
    title: {text: title, fontSize: 12, fontWeight: 500, anchor: "start", color: css("--ink")}, width: "container", height, background: null, autosize: {type: "fit", contains: "padding"},
    data: {values}, params: [{name: "shown", value: pruners ?? [PAIR, ...shown]}, {name: "chosen", value: -1}],
    transform: [{filter: "indexof(shown, datum.p) >= 0"}], layer,
    config: {font: "system-ui, sans-serif", view: {stroke: null}, axis: {labelColor: soft, titleColor: soft, titleFontWeight: 400, gridColor: rule, domainColor: rule, tickColor: rule, labelFontSize: 10.5}},
  }};
};

// ---- A chart on the page: drawn in view, drawn again on dark paper, with a line of text for keys and clicks.
const AHEAD = "300px"; // charts this far below the screen are drawn already
const whenSeen = new IntersectionObserver(entries => entries.filter(entry => entry.isIntersecting).forEach(entry => {
  whenSeen.unobserve(entry.target);
  entry.target.draw();
}), {rootMargin: AHEAD});
const chart = (place, title, x, y, rows, options = {}) => {
  const plot = make("div", {className: "plot", tabIndex: 0}), said = make("p", {className: "readout"});
  plot.setAttribute("role", "group");
  plot.setAttribute("aria-label", `${title}: ${AXES[y].title} against ${AXES[x].title || "layer"}. Arrow keys go through the points, + and - zoom, 0 shows all.`);
  said.setAttribute("aria-live", "polite");
  place.append(make("div", {className: "panel"}, plot, said));
  let view, marks = [], at = -1;
  const tell = row => {
    at = row.id;
    view?.signal("chosen", at).runAsync();
    const words = Object.entries(row.tip).map(([key, value]) => ["title", "compression", "layer"].includes(key) ? value : `${key} ${value}`);
    said.replaceChildren(words.join(" · "), ...(row.runs?.length ? [" · runs ", ...row.runs.flatMap((run, i) => [i ? ", " : "", runLink(run)])] : []));
  };
  plot.end = () => { views.delete(view); view?.finalize(); };
  plot.draw = async () => {
    await withLibrary();
    if (!plot.isConnected) return;
    const {spec, rows: values} = specOf(title, x, y, rows, options);
    marks = values;
    plot.end();
    view = (await vegaEmbed(plot, spec, {renderer: "svg", actions: false, expressionFunctions: TICKS, tooltip: {theme: dark.matches ? "dark" : "light"}})).view;
    if (!options.pruners) views.add(view);
    plot.view = view;
    view.addEventListener("click", (_, item) => item?.datum?.pruner && tell(item.datum));
    plot.dataset.drawn = "yes";
  };
  const zoomBy = factor => {
    for (const channel of ["x", "y"]) {
      const scale = view.scale(channel), [a, b] = scale.domain(), log = scale.type === "log";
      const [p, q] = log ? [Math.log(a), Math.log(b)] : [a, b], middle = (p + q) / 2, half = (q - p) / 2 * factor;
      const ends = [middle - half, middle + half];
      view.signal(`zoom_${channel}`, factor ? (log ? ends.map(Math.exp) : ends) : null);
    }
    view.runAsync();
  };
  plot.addEventListener("keydown", event => {
    if (!view) return;
    if (["+", "=", "-", "0"].includes(event.key)) { zoomBy({"+": .7, "=": .7, "-": 1 / .7, "0": 0}[event.key]); event.preventDefault(); return; }
    const step = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: 2, ArrowUp: -2}[event.key];
    if (!step) return;
    event.preventDefault();
    const seen = marks.filter(row => (options.pruners ? options.pruners.includes(row.p) : shown.has(row.p)) && row.x != null);
    if (!seen.length) return;
    const now = seen.find(row => row.id === at);
    if (!now) return tell(seen[0]);
    const same = seen.filter(row => row.p === now.p), others = [...new Set(seen.map(row => row.p))];
    if (Math.abs(step) === 1) return tell(same[(same.indexOf(now) + step + same.length) % same.length]);
    const next = others[(others.indexOf(now.p) + step / 2 + others.length) % others.length];
    tell(seen.filter(row => row.p === next).reduce((best, row) => Math.abs(row.x - now.x) < Math.abs(best.x - now.x) ? row : best));
  });
  whenSeen.observe(plot);
  return plot;
};
const clear = place => { // what charts hold on to is given back
  place.querySelectorAll(".plot").forEach(plot => { whenSeen.unobserve(plot); plot.end(); });
  place.querySelectorAll(".panel").forEach(panel => panel.remove());
};
const reference = f => [{y: data.facets[f].dense, label: "dense"}, {y: data.facets[f].chance, label: "chance"}];

// ---- The legend: one for all charts. A click hides or shows a pruner, with Shift it shows that one alone.
const swatch = p => {
  const {color, dash, shape} = data.pruners[p], ink = onPaper(color);
  const sign = make("span", {className: "swatch"});
  sign.innerHTML = `<svg viewBox="-14 -6 28 12" width="28" height="12" aria-hidden="true"><path d="M-14 0H14" stroke="${ink}" stroke-width="1.8" stroke-dasharray="${dash.join(" ")}"/><path d="${shape}" transform="scale(4)" fill="${ink}" stroke="${ink}" stroke-width=".3"/></svg>`;
  return sign;
};
const drawLegend = bar => {
  const buttons = data.pruners.map(({name}, p) => {
    const button = make("button", {type: "button", className: "chip", title: "click: hide or show; Shift and click: only this one"}, swatch(p), name);
    button.onclick = event => {
      if (event.shiftKey) { shown.clear(); shown.add(p); } else if (!shown.delete(p)) shown.add(p);
      show();
    };
    return button;
  });
  const all = make("button", {type: "button", className: "chip all", textContent: "show all", onclick: () => { data.pruners.forEach((_, p) => shown.add(p)); show(); }});
  const show = () => {
    buttons.forEach((button, p) => button.setAttribute("aria-pressed", shown.has(p)));
    all.hidden = shown.size === data.pruners.length;
    for (const view of views) view.signal("shown", [PAIR, ...shown]).runAsync();
  };
  bar.replaceChildren(...buttons, all);
  show();
};
const choice = (label, options, change, chosen = 0) => {
  const select = make("select", {onchange: () => change(select.value)}, ...options.map(([value, text]) => make("option", {value, textContent: text})));
  select.selectedIndex = chosen;
  return [make("label", {}, make("span", {textContent: label}), select), select];
};

// ---- Figures: a chart per panel before each picture that has one.
const drawFigures = () => {
  for (const figure of document.querySelectorAll("figure[id]")) {
    const place = make("div", {className: "charts"}), axes = CHARTS[figure.id];
    if (axes) data.facets.forEach(({title}, f) => {
      const rows = pointRows(f, ...axes);
      if (rows.some(row => row.y != null)) chart(place, title, ...axes, rows, {references: axes[1] === "accuracy" ? reference(f) : []});
    });
    const [kind, f] = [figure.dataset.kind, Number(figure.dataset.facet)];
    if (["density", "layer-macs", "training"].includes(kind) && data.facets[f]) {
      const of = kind === "training" ? data.curves.filter(curve => curve.f === f) : data.layers[f].lines;
      const found = [...new Set(of.map(line => line.c))].sort((a, b) => a - b);
      const draw = c => {
        clear(place);
        if (kind === "training") chart(place, `${data.facets[f].title}, ${number(c)}x`, "epoch", "plain", curveRows(f, c), {references: reference(f).slice(0, 1)});
        else chart(place, `${data.facets[f].title}, ${number(c)}x`, "layer", kind, [...layerRows(f, c, kind), ...(kind === "density" ? [] : evenRows(f, c))],
          {names: data.layers[f].names, references: kind === "density" ? [{y: 100 / c, label: "same share in every layer"}] : []});
      };
      if (found.length) {
        place.classList.add("one");
        const middle = Math.floor((found.length - 1) / 2);
        place.append(make("div", {className: "choices"}, choice("compression", found.map(c => [c, `${number(c)}x`]), value => draw(Number(value)), middle)[0]));
        draw(found[middle]);
      }
    }
    if (!place.children.length) continue;
    figure.prepend(place);
    figure.classList.add("explored");
    const toggle = make("button", {type: "button", textContent: "as printed", onclick: () =>
      toggle.textContent = figure.classList.toggle("printed") ? "as a chart" : "as printed"});
    figure.querySelector(".files").append(toggle);
  }
};
const start = async () => {
  data = JSON.parse(await unpack("data"));
  data.pruners.forEach((_, p) => shown.add(p));
  const pictures = JSON.parse(await unpack("pictures"));
  for (const image of document.querySelectorAll("img[data-picture]"))
    image.src = URL.createObjectURL(new Blob([pictures[image.dataset.picture]], {type: "image/svg+xml"}));
  for (const image of document.querySelectorAll("figure img")) image.onclick = () => image.classList.toggle("large");
  if (data.points.length) {
    drawLegend(document.getElementById("legend"));
    drawFigures();
    drawPair(document.getElementById("pair-view"));
    drawMasks(document.getElementById("mask-view"));
    dark.addEventListener("change", () => {
      drawLegend(document.getElementById("legend"));
      document.querySelectorAll(".plot[data-drawn]").forEach(plot => plot.draw());
      document.querySelectorAll(".plot").forEach(plot => plot.dispatchEvent(new Event("paper")));
    });
  }
  offerCsv(JSON.parse(await unpack("csv")));
  document.documentElement.dataset.ready = "yes";
};
