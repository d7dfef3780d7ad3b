// A table: sorts by any column, filters by words, folds its tree, and draws only the rows in view.

const ROW = 26; // pixels, as in the style sheet
const WORDS = new Intl.Collator("en", { numeric: true });
const FEW = 12; // rows that need no filter
const PRINTED = 400; // rows that go on paper

function listing(place, data) {
  const columns = data.columns.map((column) => ({ ...column }));
  for (const column of columns) column.values = column.same === undefined ? decoded(column) : columns[column.same].values;
  const paths = decoded(data.paths);
  const depths = data.depths;
  const count = columns[0].values.length;
  const parents = parentsOf(depths);
  const opened = () => new Uint8Array(count).map((_, row) => depths[row] < data.opened);
  let open = opened();
  const folds = new Uint8Array(count);
  for (const parent of parents) if (parent >= 0) folds[parent] = 1;

  const table = place.querySelector("table");
  const body = table.tBodies[0];
  const box = place.querySelector(".window");
  const unfold = place.querySelector(".unfold");
  const filter = place.querySelector("input[type=search]");
  const said = place.querySelector("output");
  const heads = [...table.tHead.rows[0].cells];
  const foot = columns.some((column) => column.added) ? table.createTFoot().insertRow() : null;
  const state = { sort: null, down: false, rows: [], cursor: 0, flat: false, stale: false };
  let texts = null; // of each row, for the filter; made when it is first used

  // -- which rows, in which order ---------------------------------------------------------------

  function matching() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (words.length && !texts) {
      const spoken = columns.filter(worded);
      texts = Array.from({ length: count }, (_, row) =>
        [paths[row] ?? "", ...spoken.map((column) => column.values[row])].join("\n").toLowerCase());
    }
    const found = [];
    for (let row = 0; row < count; row++) {
      if (paths.length && !inside(paths[row], scope.path)) continue;
      if (words.every((word) => texts[row].includes(word))) found.push(row);
    }
    return { found, flat: words.length > 0 };
  }

  function compare(a, b) {
    const values = columns[state.sort].values;
    const [one, two] = state.down ? [values[b], values[a]] : [values[a], values[b]];
    // What has no value comes last either way.
    if (one === null || two === null) return (values[a] === null) - (values[b] === null) || a - b;
    if (worded(columns[state.sort])) return WORDS.compare(one, two) || a - b;
    if (columns[state.sort].kind === "figure") return begins(one) - begins(two) || a - b;
    return difference(one, two) || a - b;
  }

  // What begins with no number comes above all that do.
  const begins = (text) => {
    const number = parseFloat(text.replaceAll(",", "").replace("−", "-"));
    return Number.isNaN(number) ? Number.MAX_VALUE : number;
  };

  function arrange() {
    // A table behind another tab waits until it is in view.
    state.stale = !box.clientWidth;
    if (state.stale) return;
    const { found, flat } = matching();
    state.flat = flat || !depths.length;
    if (state.sort !== null && state.flat) found.sort(compare);
    state.rows = state.flat ? found : unfolded(found);
    const total = `${count.toLocaleString("en-US")} rows`;
    const note = !scope.path ? "" : paths.length ? ` in ${scope.path}` : " of the whole model";
    said.hidden = count <= FEW && found.length === count && !note;
    said.value = found.length === count ? total + note : `${found.length.toLocaleString("en-US")} of ${total}${note}`;
    add(found);
    state.cursor = Math.max(0, Math.min(state.cursor, state.rows.length - 1));
    draw();
  }

  // The tree's rows that are not folded away, siblings sorted.
  function unfolded(found) {
    const below = new Map();
    const here = new Set(found);
    const tops = [];
    for (const row of found) {
      const parent = parents[row];
      if (!here.has(parent)) tops.push(row);
      else if (below.has(parent)) below.get(parent).push(row);
      else below.set(parent, [row]);
    }
    if (state.sort !== null) for (const rows of [tops, ...below.values()]) rows.sort(compare);
    const shown = [];
    const stack = tops.reverse();
    while (stack.length) {
      const row = stack.pop();
      shown.push(row);
      if (open[row] && below.has(row)) for (const child of below.get(row).reverse()) stack.push(child);
    }
    return shown;
  }

  // Below the table, the sums of what is in view.
  function add(found) {
    if (!foot) return;
    const cells = columns.map((column, index) => {
      if (!column.added) return element("td", { class: "text" }, index ? "" : "Sum");
      let sum = 0n;
      for (const row of found) sum += BigInt(column.values[row] ?? 0);
      return element("td", { class: "count" }, grouped(sum));
    });
    foot.replaceChildren(...cells);
  }

  // -- drawing ----------------------------------------------------------------------------------

  function draw() {
    const paper = matchMedia("print").matches;
    const high = box.clientHeight || 600;
    const first = paper ? 0 : Math.max(0, Math.floor(box.scrollTop / ROW) - 10);
    const last = Math.min(state.rows.length, paper ? PRINTED : first + Math.ceil(high / ROW) + 20);
    const made = state.rows.slice(first, last).map((row, index) => line(row, first + index));
    const rest = state.rows.length - last;
    if (paper && rest) made.push(element("tr", {}, element("td", {}, `… ${rest.toLocaleString("en-US")} more rows`)));
    body.replaceChildren(space(first), ...made, space(paper ? 0 : rest));
    table.setAttribute("aria-rowcount", state.rows.length + 1);
    point();
  }

  const space = (rows) => {
    const made = element("tr", { class: "space", "aria-hidden": "true" });
    made.style.height = `${rows * ROW}px`;
    return made;
  };

  function line(row, index) {
    const made = element("tr", { id: `${place.id}-row-${row}`, "aria-rowindex": index + 2 });
    made.dataset.index = index;
    if (!state.flat) {
      made.setAttribute("aria-level", depths[row] + 1);
      if (folds[row]) made.setAttribute("aria-expanded", Boolean(open[row]));
    }
    columns.forEach((column, at) => made.append(cell(column, row, at)));
    return made;
  }

  function cell(column, row, at) {
    const value = column.values[row];
    const made = element("td", { class: column.kind });
    const text = value === null ? "?" : column.kind === "share" && !Number(column.whole) ? "-" : WRITE[column.kind](value, column.whole);
    if (column.kind === "share" && value !== null) {
      made.style.setProperty("--part", Number(column.whole) ? Number(value) / Number(column.whole) : 0);
    }
    if (at === 0 && depths.length) {
      const name = state.flat && paths[row] ? paths[row] + (text === "(own)" ? " (own)" : "") : text;
      if (!state.flat) made.style.setProperty("--depth", depths[row] - depths[state.rows[0]]);
      made.title = paths[row] || text;
      if (!state.flat) made.append(element("span", { class: folds[row] ? "fold" : "leaf", "aria-hidden": "true" }));
      made.append(name);
    } else {
      if (worded(column) && (text.length > 24 || text !== value)) made.title = value;
      made.append(text);
    }
    return made;
  }

  // -- the row that the keyboard is at ----------------------------------------------------------

  function point() {
    body.querySelector(".here")?.classList.remove("here");
    const row = body.querySelector(`tr[data-index="${state.cursor}"]`);
    if (!row) {
      table.removeAttribute("aria-activedescendant");
      return;
    }
    row.classList.add("here");
    table.setAttribute("aria-activedescendant", row.id);
  }

  function go(index) {
    state.cursor = Math.max(0, Math.min(index, state.rows.length - 1));
    const top = state.cursor * ROW;
    const high = box.clientHeight - table.tHead.offsetHeight - (table.tFoot?.offsetHeight ?? 0);
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + ROW > box.scrollTop + high) box.scrollTop = top + ROW - high;
    draw();
  }

  function fold(index, wanted) {
    const row = state.rows[index];
    if (state.flat || row === undefined || !folds[row] || Boolean(open[row]) === wanted) return false;
    open[row] = wanted;
    arrange();
    return true;
  }

  function unfoldAll(wanted) {
    open = wanted ? new Uint8Array(count).fill(1) : opened();
    unfold.textContent = wanted ? "Fold" : "Unfold all";
    unfold.setAttribute("aria-pressed", wanted);
    arrange();
  }
  if (unfold) unfold.hidden = folds.every((folds, row) => !folds || open[row]);
  unfold?.addEventListener("click", () => unfoldAll(unfold.getAttribute("aria-pressed") !== "true"));

  const KEYS = {
    "*": () => unfold && unfoldAll(true),
    ArrowDown: () => go(state.cursor + 1),
    ArrowUp: () => go(state.cursor - 1),
    PageDown: () => go(state.cursor + 15),
    PageUp: () => go(state.cursor - 15),
    Home: () => go(0),
    End: () => go(state.rows.length - 1),
    ArrowRight: () => fold(state.cursor, true) || go(state.cursor + 1),
    ArrowLeft: () => fold(state.cursor, false) || go(Math.max(0, state.rows.indexOf(parents[state.rows[state.cursor]]))),
    Enter: () => paths.length && scope.set(paths[state.rows[state.cursor]] ?? scope.path),
    Escape: () => paths.length && scope.set(scope.path.split(".").slice(0, -1).join(".")),
  };
  table.addEventListener("keydown", (event) => {
    const key = event.target === table && !event.ctrlKey && !event.metaKey && !event.altKey && KEYS[event.key];
    if (!key) return;
    event.preventDefault();
    key();
  });

  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-index]");
    if (!row) return;
    const index = Number(row.dataset.index);
    state.cursor = index;
    if (event.target.classList.contains("fold")) fold(index, !open[state.rows[index]]);
    point();
  });

  heads.forEach((head, at) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = !worded(columns[at]);
      if (state.sort !== at) Object.assign(state, { sort: at, down });
      else if (state.down === down) state.down = !down;
      else state.sort = null; // the third time: the order it came in
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      if (state.sort !== null) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      arrange();
    });
  });

  filter.closest("label").hidden = count <= FEW;
  filter.addEventListener("input", () => {
    box.scrollTop = 0;
    arrange();
  });
  box.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  new ResizeObserver(() => (state.stale ? arrange() : draw())).observe(box);
  scope.followers.push((path) => {
    const row = depths.length ? paths.indexOf(path) : -1;
    if (row >= 0) open[row] = 1;
    box.scrollTop = 0;
    state.cursor = 0;
    arrange();
  });
  theme.followers.push(draw);
  // Columns keep their widths while rows come and go.
  columns.forEach((column, at) => {
    const indent = (row) => at || !depths.length ? 0 : 1.8 * depths[row] + 2;
    const shown = column.values.reduce((most, value, row) => Math.max(most, room(column, value) + indent(row)), 0);
    heads[at].style.minWidth = `calc(${Math.min(38, shown)}ch + 16px)`;
  });
  arrange();
}

// Of numbers, the larger of which come as digits.
function difference(one, two) {
  if (typeof one === "number" && typeof two === "number") return one - two;
  return Number(BigInt(one) - BigInt(two));
}

// Letters that a value takes, without writing it out: digits and the commas between them.
function room({ kind }, value) {
  if (value === null || kind === "share") return 1;
  if (kind === "text" || kind === "figure") return value.length * 0.9;
  if (kind === "source") return WRITE.source(value).length * 0.9;
  if (kind === "ratio") return WRITE.ratio(value).length;
  const digits = typeof value === "string" ? value.length : Math.floor(Math.log10(Math.abs(value) || 1)) + 1;
  return digits + Math.floor((digits - 1) / 3) * 0.4;
}

// Rows come parents first, so the parent is the last row seen one level up.
function parentsOf(depths) {
  const last = [];
  return Array.from(depths, (depth, row) => {
    last[depth] = row;
    return depth ? last[depth - 1] : -1;
  });
}
