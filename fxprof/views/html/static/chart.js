// A chart of lines or points. Points at one place with one label are drawn once, larger.

function plot(place, data) {
  const said = place.querySelector(".said");
  const area = place.querySelector(".drawing");
  const series = data.series.map((each) => ({ ...each, labels: decoded(each.labels), paths: decoded(each.paths) }));
  const asked = place.querySelector("input[type=number]");
  let points = [];
  let cursor = -1;

  function gather() {
    const found = series.map((each) => new Map());
    series.forEach((each, at) => each.x.forEach((x, index) => {
      const y = each.y[index];
      if (each.paths.length && !inside(each.paths[index], scope.path)) return;
      if ((data.x.log && !(x > 0)) || (data.y.log && !(y > 0))) return;
      const label = each.labels[index] ?? "";
      const key = data.lines ? index : `${x} ${y} ${label}`;
      const point = found[at].get(key) ?? { series: at, x, y, label, path: each.paths[index] ?? "", times: 0 };
      point.times += 1;
      found[at].set(key, point);
    }));
    points = found.flatMap((each) => [...each.values()]).sort((a, b) => a.x - b.x || a.y - b.y);
    cursor = -1;
    said.textContent = "";
  }

  const tell = (point) => [
    [point.label, series.length > 1 ? series[point.series].name : ""].filter(Boolean).join(" · "),
    point.times > 1 ? `${point.times.toLocaleString("en-US")} calls, the first in ${point.path || "the model itself"}` : point.path,
    `${spelled(point.y, data.y.unit)} ${data.y.title}${point.times > 1 ? " each" : ""}`,
    `${spelled(point.x, data.x.unit)} ${data.x.title}`,
  ].filter(Boolean);

  // Whole decades around what is drawn; a linear axis finds its own ends.
  function ends(where) {
    const values = points.map((point) => point[where]);
    if (where === "x" && ridge() > 0) values.push(ridge());
    if (!data[where].log || !values.length) return {};
    const [least, most] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, 0]);
    const low = Math.floor(Math.log10(least));
    return { min: 10 ** low, max: 10 ** Math.max(low + 1, Math.ceil(Math.log10(most))) };
  }

  function axis({ title, unit, log }, colours, where) {
    return {
      ...ends(where),
      type: log ? "log" : "value", name: title, nameLocation: where === "x" ? "middle" : "end", nameGap: where === "x" ? 28 : 14,
      nameTextStyle: { color: colours.muted, fontSize: 12, align: where === "x" ? "center" : "left", padding: where === "x" ? 0 : [0, 0, 0, -44] },
      scale: !log, axisLine: { show: where === "x", lineStyle: { color: colours.line } }, axisTick: { show: false },
      axisLabel: { color: colours.muted, fontSize: 12, formatter: (value) => ticked(value, unit) },
      splitLine: { lineStyle: { color: colours.line } }, minorSplitLine: { show: false },
    };
  }

  const ticked = (value, unit) => unit === "bytes" ? shortBytes(Math.round(value))
    : Number.isInteger(value) ? short(value).replace(/\.?0+(?= |$)/, (zeros) => zeros.startsWith(".") ? "" : zeros) : String(value);

  const size = (point, most) => 7 + 15 * Math.sqrt(point.times * point.y / most);

  // One point for each label, so that the names do not cover the points.
  function largest() {
    const found = new Map();
    for (const point of points) {
      const other = found.get(point.label);
      if (!other || point.times * point.y > other.times * other.y) found.set(point.label, point);
    }
    return found;
  }

  function draw(chart) {
    const colours = theme.colours();
    const most = points.reduce((a, point) => Math.max(a, point.times * point.y), 1);
    const named = new Set(largest().values());
    const shades = [colours.accent, colours.ink, colours.muted, colours.faint];
    chart.setOption({
      animation: false, textStyle: { fontFamily: colours.font }, grid: { left: 56, right: 24, top: series.length > 1 ? 56 : 32, bottom: 44 },
      xAxis: axis(data.x, colours, "x"), yAxis: axis(data.y, colours, "y"),
      legend: { show: series.length > 1, top: 0, right: 0, textStyle: { color: colours.ink }, itemHeight: 8 },
      tooltip: {
        trigger: "item", backgroundColor: colours.paper, borderColor: colours.line, textStyle: { color: colours.ink, fontSize: 12 },
        formatter: ({ data: { point } }) => element("div", { class: "tip" }, ...tell(point).map((text) => element("div", {}, text))),
      },
      series: [...ridgeLine(colours), ...series.map((each, at) => ({
        type: data.lines ? "line" : "scatter", name: each.name, symbol: "circle",
        data: points.filter((point) => point.series === at).map((point) => ({ value: [point.x, point.y], point, named: named.has(point) })),
        symbolSize: data.lines ? 6 : (_, { data: { point } }) => size(point, most),
        lineStyle: { width: 1.5, type: at > 3 ? "dashed" : "solid" },
        itemStyle: { color: shades[at % shades.length], opacity: data.lines ? 1 : 0.55 },
        emphasis: { scale: 1.3, itemStyle: { opacity: 1, borderColor: colours.ink, borderWidth: 1.5 } },
        label: { show: !data.lines, position: "top", color: colours.muted, fontSize: 11, opacity: 1,
                 formatter: ({ data: { point, named } }) => !named ? "" : point.times > 1 ? `${point.label} × ${point.times}` : point.label },
        labelLayout: { hideOverlap: true },
      }))],
    }, { notMerge: true });
    if (cursor >= 0) show(chart);
  }

  const ridge = () => Number(asked?.value ?? 0);

  // A line at the x that the reader asked for.
  function ridgeLine(colours) {
    const { min, max } = ends("y");
    if (!(ridge() > 0) || !max) return [];
    return [{
      type: "line", silent: true, symbol: "none", data: [[ridge(), min], [ridge(), max]],
      lineStyle: { color: colours.ink, width: 1, type: "dashed" },
    }];
  }

  const { chart, again } = drawing(area, draw);

  asked?.addEventListener("input", () => {
    again();
    const x = ridge();
    const sum = (some) => some.reduce((total, point) => total + BigInt(point.y) * BigInt(point.times), 0n);
    const left = sum(points.filter((point) => point.x < x));
    said.textContent = x > 0 ? `${grouped(left)} ${data.y.title} (${share(left, sum(points))}) lie left of ${x}` : "";
  });

  function show(target) {
    const point = points[cursor];
    const dataIndex = points.filter((other) => other.series === point.series).indexOf(point);
    target.dispatchAction({ type: "downplay" });
    const seriesName = series[point.series].name;
    target.dispatchAction({ type: "highlight", seriesName, dataIndex });
    target.dispatchAction({ type: "showTip", seriesIndex: target.getOption().series.length - series.length + point.series, dataIndex });
    said.textContent = tell(point).join(", ");
  }

  area.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !points.length) return;
    event.preventDefault();
    cursor = cursor < 0 ? (step > 0 ? 0 : points.length - 1) : (cursor + step + points.length) % points.length;
    show(chart);
  });
  area.addEventListener("blur", () => {
    chart.dispatchAction({ type: "downplay" });
    chart.dispatchAction({ type: "hideTip" });
  });
  chart.on("click", ({ data: { point } }) => point.path && scope.set(point.path));
  scope.followers.push(() => {
    gather();
    again();
  });
  gather();
}
