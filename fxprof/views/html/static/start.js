// What stands in the page for each part becomes the part.

const PARTS = { table: listing, chart: plot, icicle };
const data = JSON.parse(document.getElementById("data").textContent);

for (const place of document.querySelectorAll("[data-part]")) PARTS[place.dataset.part](place, data[place.id]);

for (const tabs of document.querySelectorAll("[role=tablist]")) {
  const buttons = [...tabs.children];
  const choose = (chosen) => {
    for (const button of buttons) {
      const here = button === chosen;
      button.setAttribute("aria-selected", here);
      button.tabIndex = here ? 0 : -1;
      document.getElementById(button.getAttribute("aria-controls")).hidden = !here;
    }
    chosen.focus();
  };
  tabs.addEventListener("click", (event) => buttons.includes(event.target) && choose(event.target));
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(buttons[(buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length]);
  });
}

theme.watch();
document.documentElement.dataset.ready = "yes";
