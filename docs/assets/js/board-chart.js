// The chart of a board: a picture until the reader uses it, then drawn by Vega, with details of a mark
// next to it. A click opens the record of a mark; the first tap shows its details.

import { make } from "./state.js";

const REACH = 24; // maximum distance in pixels at which the pointer selects a mark
const HINT = "Arrow keys move between points, Enter opens the record. The table below has the same numbers.";

/** Label the last point of each line and every pattern; coinciding points share a label. */
function named(points) {
  const last = new Map();
  const places = new Map();
  for (const point of [...points].sort((a, b) => a.size - b.size)) last.set(point.series + point.name, point);
  for (const point of last.values()) {
    const place = `${point.size} ${point.ratio.toPrecision(3)}`;
    places.set(place, [...(places.get(place) ?? []), point]);
  }
  const labels = new Map([...places.values()].map(([first, ...others]) => [first.id,
    [first, ...others].slice(0, 2).map(point => point.name).join(", ")
      + (others.length > 1 ? ` and ${others.length - 1} more` : "")]));
  return points.map(point => ({ ...point, label: labels.get(point.id) ?? "" }));
}

/** Vega, the largest file. */
export const drawing = () => import("./vega.js");

export class Chart {
  /** `wake` makes the page draw this chart, which then calls `show`. */
  constructor(section, wake) {
    this.up = section.dataset.up;
    this.figure = section.querySelector(".atlas-chart");
    this.stage = this.figure.querySelector(".atlas-stage");
    this.wake = () => {
      this.turned = true;
      return wake();
    };
    this.leftOut = this.figure.querySelector(".atlas-left-out");
    this.title = section.querySelector("h2").textContent;
    this.pictured = Boolean(this.stage.querySelector("svg"));
    this.readout = make("div", { class: "atlas-readout", "aria-hidden": "true", hidden: "" });
    this.said = make("p", { class: "atlas-hidden", "aria-live": "polite" });
    this.stage.after(this.said);
    this.figure.querySelector(".atlas-hint").hidden = false;
    for (const link of this.stage.querySelectorAll("a")) link.tabIndex = -1;
    this.about("size");
    this.place = -1;
    this.stage.addEventListener("keydown", event => this.key(event));
    this.stage.addEventListener("focus", () => this.view || this.wake());
    this.stage.addEventListener("blur", () => this.choose(-1));
    this.stage.addEventListener("pointerenter", () => this.view || this.wake());
    this.stage.addEventListener("pointerdown", event => { this.finger = event.pointerType !== "mouse"; });
    this.stage.addEventListener("pointermove", event => this.hover(event));
    this.stage.addEventListener("pointerleave", event => event.pointerType === "mouse" && this.choose(-1));
    this.stage.addEventListener("click", event => this.click(event));
    new ResizeObserver(() => this.fit()).observe(this.stage);
  }

  about(kind, count) {
    const points = count === undefined ? "" : ` ${count.toLocaleString("en")} points.`;
    for (const [name, value] of Object.entries({
      tabindex: "0",
      role: "application",
      "aria-roledescription": "chart",
      "aria-label": `${this.title}: quality against ${kind}.${points} ${HINT}`,
    })) this.stage.setAttribute(name, value);
  }

  /**
   * Draw points against the quantity of a button; `missing` counts the table rows without a point. If
   * the picture shows all points (`pictured`), it stays until the reader uses it.
   */
  async show(spec, { value: kind, textContent: label }, points, { missing, pictured }) {
    this.leftOut.textContent = this.why(kind, missing);
    if (pictured && this.pictured && !this.view && !this.turned) return;
    const mine = this.asked = Symbol(kind);
    // Sorting and columns of the table do not change the chart.
    const drawn = `${kind} ${points.map(point => point.id)}`;
    if (this.view && this.drawn === drawn) return;
    const { parse, View, expressionInterpreter } = await drawing();
    if (this.asked !== mine) return; // the state has changed meanwhile
    this.placed = named(points).filter(point => point[kind] !== null)
      .map(point => ({ ...point, href: this.up + point.href }))
      .sort((a, b) => a[kind] - b[kind] || a.ratio - b.ratio);
    this.kind = kind;
    const size = this.size();
    this.width = size.width;
    const data = spec.data.map(one => one.name === "points" ? { ...one, values: this.placed } : one);
    this.view?.finalize();
    this.view = null;
    this.live?.remove();
    this.live = make("div", { class: "atlas-live", "aria-hidden": "true" });
    this.stage.append(this.live, this.readout);
    this.stage.classList.add("is-live");
    this.about(label.toLowerCase(), this.placed.length);
    this.choose(-1);
    if (!this.placed.length) return;
    this.view = new View(parse({ ...spec, ...size, data }, null, { ast: true }), {
      container: this.live, expr: expressionInterpreter, renderer: "svg", tooltip: () => {},
    });
    this.drawn = drawn;
    await this.view.runAsync();
  }

  why(kind, count) {
    if (!count) return "";
    const why = kind === "speed" ? ": no speed-up expected on dense kernels, or speed not measured" : "";
    return `${count} of the results shown in the table ${count === 1 ? "is" : "are"} not in this chart${why}.`;
  }

  /** The height of the picture, so that nothing moves when the chart replaces it. */
  size() {
    const width = this.stage.clientWidth;
    const narrow = matchMedia("(max-width: 44.99em)").matches;
    return { width, height: Math.round(width * (narrow ? 430 / 330 : 440 / 960)) };
  }

  fit() {
    const { width, height } = this.size();
    if (!this.view || !width || width === this.width) return;
    this.width = width;
    this.view.width(width).height(height).resize().runAsync();
  }

  /** The position of a point on the stage. */
  at(point) {
    const [left, top] = this.view.origin();
    const padding = this.view.padding();
    const place = (scale, value) => this.view.scale(scale)(value);
    return [left + padding.left + place("x", point[this.kind]), top + padding.top + place("y", point.ratio)];
  }

  /** The index of the mark nearest to an event; -1 if none is near. */
  near(event) {
    if (!this.view) return -1;
    const box = this.stage.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let [best, reach] = [-1, REACH];
    this.placed.forEach((point, place) => {
      const [across, along] = this.at(point);
      const far = Math.hypot(across - x, along - y);
      if (far < reach) [best, reach] = [place, far];
    });
    return best;
  }

  hover(event) {
    if (event.pointerType === "mouse" && this.view && !this.readout.contains(event.target)) {
      this.choose(this.near(event));
    }
  }

  async click(event) {
    if (this.readout.contains(event.target)) {
      // A tap on the details closes them.
      if (this.finger && !event.target.closest("a")) this.choose(-1);
      return;
    }
    if (!this.view) {
      const link = event.target.closest("a")?.getAttribute("href");
      if (!this.finger) return; // the picture's own link
      event.preventDefault();
      await this.wake();
      if (this.view && link) this.choose(this.placed.findIndex(({ href }) => href === link));
      return;
    }
    const place = this.near(event);
    if (place >= 0 && (!this.finger || place === this.place)) location.assign(this.placed[place].href);
    else this.choose(place);
  }

  /** Show the details of a mark, and of marks under it, next to it. */
  choose(place) {
    if (place === this.place) return;
    this.place = place;
    const point = this.placed?.[place];
    if (this.view) this.view.signal("chosen", point ?? null).runAsync();
    this.readout.hidden = !point;
    this.said.textContent = "";
    if (!point) return;
    const [x, y] = this.at(point);
    const same = this.placed.filter(other => {
      const [across, along] = this.at(other);
      return Math.hypot(across - x, along - y) < 2;
    });
    this.readout.replaceChildren(...same.flatMap(other => [make("p", {},
      make("strong", {}, other.title), `; ${other.more}. `,
      make("a", { href: other.href, tabindex: "-1" }, "Record and command"))]));
    this.said.textContent = same.map(other => `${other.title}; ${other.more}.`).join(" ");
    this.beside(x, y);
  }

  /** Place the details right or left of a position, within the width of the stage. */
  beside(x, y) {
    const { style, offsetWidth: width, offsetHeight: height } = this.readout;
    const room = this.stage.clientWidth;
    const right = x + 18 + width <= room;
    const left = right ? x + 18 : x - 18 - width;
    const fits = left >= 0;
    style.left = `${fits ? left : Math.min(Math.max(0, x - width / 2), room - width)}px`;
    const top = fits ? y - height / 2 : y > height + 18 ? y - 18 - height : y + 18;
    style.top = `${Math.max(0, top)}px`;
  }

  key(event) {
    if (!this.placed) return;
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    const last = this.placed.length - 1;
    if (step) {
      const from = this.place < 0 ? (step > 0 ? -1 : last + 1) : this.place;
      this.choose(Math.min(last, Math.max(0, from + step)));
    } else if (event.key === "Home" || event.key === "End") {
      this.choose(event.key === "Home" ? 0 : last);
    } else if (event.key === "Enter" && this.place >= 0) {
      location.assign(this.placed[this.place].href);
    } else if (event.key === "Escape") {
      this.choose(-1);
    } else return;
    event.preventDefault();
  }
}
