"use strict";

// Numbers as the command line writes them (fxprof/units.py), exact at any size.

const DECIMAL = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];
const BINARY = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

const grouped = (count) => BigInt(count).toLocaleString("en-US");

// part / whole in units of 1 / scale, halves to the even side.
function rounded(part, whole, scale) {
  const left = BigInt(part) * BigInt(scale);
  const quotient = left / whole;
  const twice = (left % whole) * 2n;
  return quotient + BigInt(twice > whole || (twice === whole && quotient % 2n === 1n));
}

function scaled(count, base, names) {
  const exact = BigInt(count);
  let power = 0;
  let unit = 1n;
  // 999.5 rounds up to four digits, so it belongs to the next prefix.
  while (power < names.length - 1 && (power ? exact * 2n >= 1999n * unit : exact >= base)) {
    power += 1;
    unit *= base;
  }
  if (!power) return `${exact} ${names[0]}`.trim();
  const digits = exact * 200n < 1999n * unit ? 2 : exact * 20n < 1999n * unit ? 1 : 0;
  const text = String(rounded(exact, unit, 10 ** digits)).padStart(digits + 1, "0");
  const whole = text.slice(0, text.length - digits);
  return `${whole}${digits ? "." + text.slice(-digits) : ""} ${names[power]}`;
}

const short = (count) => scaled(count, 1000n, DECIMAL);
const shortBytes = (size) => scaled(size, 1024n, BINARY);

// Only nothing prints 0 %, and only everything 100 %.
function share(part, whole) {
  if (BigInt(part) === 0n) return "0 %";
  if (BigInt(part) === BigInt(whole)) return "100 %";
  const tenths = rounded(part, BigInt(whole), 1000);
  if (tenths < 1n) return "<0.1 %";
  return tenths > 999n ? ">99.9 %" : `${tenths / 10n}.${tenths % 10n} %`;
}

const WRITE = {
  text: (value) => value,
  source: (value) => value.split("/").pop(),
  count: grouped,
  bytes: shortBytes,
  delta: (value) => (BigInt(value) > 0n ? "+" : "") + grouped(value),
  ratio: (value) => value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 }),
  share,
  figure: (value) => value,
};

// Any whole number may have come as a fraction (the x of a chart), which has no groups of its own.
const spelled = (value, unit) =>
  unit === "ratio" || (typeof value === "number" && !Number.isInteger(value)) ? WRITE.ratio(value) : grouped(value);

// Words that repeat came once, and the places of them after.
const decoded = (column) => column.words ? column.codes.map((code) => column.words[code]) : column.values;

// Text goes into the page as text, never as markup.
function element(tag, attributes = {}, ...content) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...content);
  return made;
}

const inside = (path, scope) => !scope || path === scope || path.startsWith(scope + ".");

// What the reader has zoomed into: a module's path, "" for the whole model.
const scope = {
  path: "",
  followers: [],
  set(path) {
    if (path === this.path) return;
    this.path = path;
    for (const follow of this.followers) follow(path);
  },
};

// Columns of words: on the left, found by the filter.
const worded = (column) => ["text", "source"].includes(column.kind);

// Drawings on a canvas do not follow the style sheet by themselves.
const theme = {
  followers: [],
  colours() {
    const style = getComputedStyle(document.documentElement);
    const names = ["paper", "ink", "muted", "line", "soft", "accent", "faint"];
    const found = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    return { ...found, font: getComputedStyle(document.body).fontFamily };
  },
  watch() {
    const changed = () => this.followers.forEach((follow) => follow());
    for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", changed);
    addEventListener("beforeprint", changed);
    addEventListener("afterprint", changed);
  },
};

// A drawing that fills its element, drawn again when that, the colours or the paper change.
function drawing(place, draw) {
  const chart = echarts.init(place, null, { renderer: "canvas" });
  const again = () => {
    const width = place.clientWidth;
    if (!width) return;
    chart.resize({ width, height: place.clientHeight, silent: true });
    draw(chart, width);
    chart.getZr().flush(); // now, not with the next frame: paper does not wait
  };
  new ResizeObserver(again).observe(place);
  theme.followers.push(again);
  return { chart, again };
}
