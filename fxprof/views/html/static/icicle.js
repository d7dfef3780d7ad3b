// The module tree as stacked bars: width is the value, children lie below their parent in call order.

const BAR = 26; // pixels
const DEEPEST = 14; // levels in view
const NARROW = 2; // pixels: what is narrower is drawn together with its neighbours
const ROOMY = 30; // pixels: from here on, children that are alike are drawn one by one

function icicle(place, data) {
  const names = decoded(data.names);
  const types = decoded(data.types);
  const paths = decoded(data.paths);
  const measures = data.measures.map((measure) => ({ ...measure, numbers: measure.values.map(Number) }));
  const parents = parentsOf(data.depths);
  const children = names.map(() => []);
  parents.forEach((parent, node) => parent >= 0 && children[parent].push(node));
  const kinds = kindsOf();
  const most = data.shade.reduce((a, b) => Math.max(a, b), 1);

  const area = place.querySelector(".drawing");
  const said = place.querySelector(".said");
  const trail = place.querySelector(".trail");
  const state = { measure: 0, root: 0, cursor: 0, bars: [], walked: false };
  const levels = Math.min(DEEPEST, data.depths.reduce((a, b) => Math.max(a, b), 0) + 1);
  area.style.height = `${levels * BAR}px`;

  const value = (node) => measures[state.measure].values[node];
  const weight = (node) => measures[state.measure].numbers[node];

  // Two nodes of one kind look the same all the way down: types, values, and the names below.
  function kindsOf() {
    const seen = new Map();
    const found = new Array(names.length);
    for (let node = names.length - 1; node >= 0; node--) {
      const numbers = measures.map((measure) => measure.values[node]);
      const key = JSON.stringify([types[node], numbers, children[node].map((child) => [names[child], found[child]])]);
      if (!seen.has(key)) seen.set(key, seen.size);
      found[node] = seen.get(key);
    }
    return found;
  }

  function above(node) {
    const line = [];
    for (let at = node; at >= 0; at = parents[at]) line.unshift(at);
    return line;
  }

  // The bars in view: the way to the root of the view in full width, then what lies below it.
  function bars(width) {
    const line = above(state.root).slice(-Math.max(1, levels - 3));
    const found = line.map((node, level) => ({ node, level, left: 0, right: width, many: 0, times: 1, alike: 1 }));
    const stack = weight(state.root) ? [found[found.length - 1]] : [];
    while (stack.length) {
      const bar = stack.pop();
      if (bar.level + 1 >= levels) continue;
      const scale = (bar.right - bar.left) / weight(bar.node);
      const level = bar.level + 1;
      let left = bar.left;
      let small = null;
      for (let at = 0; at < children[bar.node].length;) {
        const node = children[bar.node][at];
        const alike = weight(node) * scale < ROOMY ? alikeFrom(bar.node, at) : 1;
        const right = left + alike * weight(node) * scale;
        if (right - left >= NARROW) {
          const child = { node, level, left, right, many: 0, times: bar.times * alike, alike };
          found.push(child);
          stack.push(child);
          small = null;
        } else if (right > left) {
          if (small) Object.assign(small, { right, many: small.many + alike });
          else found.push(small = { node, level, left, right, many: alike, times: 1, alike: 1 });
        }
        left = right;
        at += alike;
      }
    }
    return found;
  }

  // How many children in a row are alike; two are still drawn one by one.
  function alikeFrom(parent, at) {
    const row = children[parent];
    let end = at + 1;
    while (end < row.length && kinds[row[end]] === kinds[row[at]]) end += 1;
    return end - at > 2 ? end - at : 1;
  }

  // -- words ------------------------------------------------------------------------------------

  function tell(node) {
    const measure = measures[state.measure];
    const brief = measure.unit === "bytes" ? ` (${shortBytes(value(node))})` : "";
    const times = state.bars.find((bar) => bar.node === node && !bar.many)?.times ?? 1;
    const part = Number(value(0)) ? `, ${share(BigInt(value(node)) * BigInt(times), value(0))} of the model` : "";
    // What is no module of its own has the path of the module that runs it.
    const own = node && paths[node].split(".").pop() !== names[node] ? ` ${names[node]}` : "";
    const name = (paths[node] || names[0]) + own;
    const alike = times > 1 ? `and ${grouped(times - 1)} alike` : "";
    return [`${name} ${alike}`.trim(), types[node], `${grouped(value(node))} ${measure.of}${brief}${alike && " each"}${part}`, `${WRITE.ratio(data.shade[node])} ${data.shading}`]
      .filter(Boolean).join(" · ");
  }

  function way() {
    trail.replaceChildren(...above(state.root).map((node) => {
      const button = element("button", { type: "button" }, names[node]);
      if (node === state.root) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => zoom(node));
      return element("li", {}, button);
    }));
  }

  // -- drawing ----------------------------------------------------------------------------------

  function draw(chart, width) {
    const colours = theme.colours();
    state.bars = bars(width);
    chart.setOption({
      animation: false, textStyle: { fontFamily: colours.font },
      series: [{
        type: "custom", coordinateSystem: "none", data: state.bars.map((_, at) => at),
        renderItem: ({ dataIndex }) => ({ type: "group", children: shapes(state.bars[dataIndex], colours) }),
      }],
    }, { notMerge: true });
    if (state.walked) mark(chart);
  }

  function shapes(bar, colours) {
    const shape = { x: bar.left, y: bar.level * BAR, width: Math.max(0.5, bar.right - bar.left - 1), height: BAR - 1 };
    if (bar.many) return [{ type: "rect", shape, style: { fill: colours.line } }];
    const dark = 0.08 + 0.82 * Math.sqrt(data.shade[bar.node] / most);
    const ground = mixed(rgb(colours.paper), rgb(colours.accent), dark);
    const rect = {
      type: "rect", shape, style: { fill: `rgb(${ground.join(",")})` },
      emphasis: { style: { stroke: colours.ink, lineWidth: 2 } },
    };
    const text = label(bar, shape.width - 10);
    if (!text) return [rect];
    const [dim, bright] = [colours.ink, colours.paper].sort((a, b) => light(rgb(a)) - light(rgb(b)));
    const fill = contrast(rgb(bright), ground) >= 4 ? bright : dim;
    const style = {
      text, fill, x: shape.x + 6, y: shape.y + BAR / 2, verticalAlign: "middle", fontSize: 12, fontFamily: colours.font,
      width: shape.width - 8, overflow: "truncate",
    };
    return [rect, { type: "text", style, silent: true }];
  }

  function label(bar, room) {
    const siblings = children[parents[bar.node]];
    const name = bar.alike === 1 ? names[bar.node]
      : `${names[bar.node]} … ${names[siblings[siblings.indexOf(bar.node) + bar.alike - 1]]}   ${grouped(bar.alike)} alike`;
    if (room < Math.min(40, name.length * 6)) return "";
    const full = Number(value(0)) ? `${name}   ${share(BigInt(value(bar.node)) * BigInt(bar.times), value(0))}` : name;
    return room >= full.length * 6.5 ? full : name;
  }

  const { chart, again } = drawing(area, draw);

  // -- where the reader is ----------------------------------------------------------------------

  function mark(target) {
    target.dispatchAction({ type: "downplay" });
    const dataIndex = state.bars.findIndex((bar) => bar.node === state.cursor && !bar.many);
    if (dataIndex >= 0) target.dispatchAction({ type: "highlight", seriesIndex: 0, dataIndex });
  }

  function at(node) {
    state.cursor = node;
    said.textContent = tell(node);
  }

  function walk(node) {
    if (!state.bars.some((bar) => bar.node === node && !bar.many)) return;
    state.walked = true;
    at(node);
    mark(chart);
  }

  // The next bar on the same level.
  function beside(step) {
    const here = state.bars.find((bar) => bar.node === state.cursor && !bar.many);
    const row = state.bars.filter((bar) => bar.level === here?.level && !bar.many).sort((a, b) => a.left - b.left);
    const next = row[row.indexOf(here) + step];
    if (next) walk(next.node);
  }

  function zoom(node) {
    state.root = node;
    scope.set(paths[node]);
    way();
    again();
    at(node);
  }

  const below = () => children[state.cursor].find((child) => state.bars.some((bar) => bar.node === child && !bar.many));
  const KEYS = {
    ArrowRight: () => beside(1),
    ArrowLeft: () => beside(-1),
    ArrowUp: () => parents[state.cursor] >= 0 && walk(parents[state.cursor]),
    ArrowDown: () => below() !== undefined && walk(below()),
    Home: () => zoom(0),
    Enter: () => zoom(state.cursor),
    " ": () => zoom(state.cursor),
    Escape: () => parents[state.root] >= 0 && zoom(parents[state.root]),
    Backspace: () => parents[state.root] >= 0 && zoom(parents[state.root]),
  };
  area.addEventListener("keydown", (event) => {
    if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  area.addEventListener("focus", () => {
    if (area.matches(":focus-visible")) walk(state.cursor);
  });
  area.addEventListener("blur", () => {
    state.walked = false;
    chart.dispatchAction({ type: "downplay" });
  });

  chart.on("mouseover", ({ dataIndex }) => !state.bars[dataIndex].many && at(state.bars[dataIndex].node));
  chart.on("click", ({ dataIndex }) => {
    const bar = state.bars[dataIndex];
    zoom(bar.many ? parents[bar.node] : bar.node);
  });
  const choices = [...place.querySelectorAll("input[type=radio]")];
  // A model without MACs starts from the first thing it has.
  state.measure = Math.max(0, measures.findIndex((measure) => measure.numbers[0] > 0));
  choices[state.measure].checked = true;
  for (const choice of choices) {
    choice.addEventListener("change", () => {
      state.measure = Number(choice.value);
      again();
      at(state.cursor);
    });
  }
  const first = new Map(paths.map((path, node) => [path, node]).reverse());
  scope.followers.push((path) => {
    if (paths[state.root] !== path && first.has(path)) zoom(first.get(path));
  });
  at(0);
  way();
}

// Colours of the style sheet are written #rrggbb.
const rgb = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
const mixed = (from, to, part) => from.map((value, at) => Math.round(value * (1 - part) + to[at] * part));

// How bright a colour is, from 0 to 1.
const light = (colour) => colour
  .map((value) => value / 255)
  .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);

// How well a text can be read on its ground, from 1 to 21, as WCAG defines it.
function contrast(text, ground) {
  const [less, more] = [light(text), light(ground)].sort((a, b) => a - b);
  return (more + 0.05) / (less + 0.05);
}
