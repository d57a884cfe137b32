// The search in the header of every page. A plain script, to keep pages light: the search engine and
// its index are loaded when the box gets the focus.

{
  const here = document.currentScript.src;
  const box = document.querySelector(".md-search");
  const form = box.querySelector("form");
  const input = form.elements.query;
  const state = box.querySelector(".atlas-found__state");
  const results = box.querySelector(".atlas-found");
  const toggle = document.querySelector("#__search");
  const invitation = state.textContent;
  const PAPERS = 6; // maximum number of results of each kind
  const PASSAGES = 8;
  const EXCERPT = 160; // characters of text in a result

  let loading; // promise of the finder
  let asked = 0;

  const load = () => loading ??= import(new URL("finding.js", here)).then(async finding =>
    ({ address: finding.address, finder: await finding.load() }));

  const element = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  function item(href, title, ...about) {
    const link = element("a", { href }, element("strong", {}, title));
    for (const text of about) if (text) link.append(element("span", {}, text));
    return element("li", {}, link);
  }

  function group(label, items, more) {
    const list = element("ol", {}, ...items, ...(more ? [more] : []));
    return element("section", { ariaLabel: label }, element("h2", {}, label), list);
  }

  const counted = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;

  function papers(found, text, address) {
    const all = new URLSearchParams({ find: text });
    const more = item(address(`catalog.html?${all}`), "All in the catalog");
    const items = found.slice(0, PAPERS).map(({ id, title, text }) =>
      item(address(id), title, text.slice(0, EXCERPT)));
    return group("Papers", items, found.length > PAPERS && more);
  }

  function pages(found, address) {
    return group("Pages", found.slice(0, PASSAGES).map(({ id, page, title, text }) =>
      item(address(id), page === title ? title : `${page} › ${title}`, text.slice(0, EXCERPT))));
  }

  /** Show the results for the text in the box. */
  async function show() {
    const text = input.value.trim();
    const turn = ++asked;
    if (!text) {
      state.textContent = invitation;
      results.replaceChildren();
      return;
    }
    let loaded;
    try {
      loaded = await load();
    } catch {
      loading = undefined; // try again next time
      state.textContent = "The search could not be loaded. Check your connection.";
      return;
    }
    if (turn !== asked) return;
    const { finder, address } = loaded;
    const { hits, near } = finder.search(text);
    const found = [...hits.keys()].map(id => finder.known.get(id));
    const kinds = [found.filter(one => one.slug), found.filter(one => !one.slug)];
    const groups = [
      kinds[0].length && papers(kinds[0], text, address),
      kinds[1].length && pages(kinds[1], address),
    ];
    if (found.length && !found[0].slug) groups.reverse();
    const counts = kinds.map((kind, place) => counted(kind.length, ["paper", "passage"][place]));
    const said = counts.filter((_, place) => kinds[place].length).join(", ");
    state.textContent = said ? (near ? "Similar spelling: " : "") + said
      : "No results. Try fewer words.";
    results.replaceChildren(...groups.filter(Boolean));
    box.dataset.found = text;
  }

  const open = to => { if (toggle.checked !== to) toggle.click(); };

  function close() {
    open(false);
    input.blur();
  }

  /** Move the focus to the next or previous result; the box comes before the first. */
  function step(by) {
    const stops = [input, ...results.querySelectorAll("a")];
    const next = stops[stops.indexOf(document.activeElement) + by];
    next?.focus();
  }

  input.addEventListener("focus", () => {
    open(true);
    load().catch(() => { loading = undefined; });
  });
  input.addEventListener("input", show);
  toggle.addEventListener("change", () => toggle.checked && input.focus());
  form.addEventListener("submit", event => {
    event.preventDefault();
    show().then(() => results.querySelector("a")?.click());
  });
  form.addEventListener("reset", () => setTimeout(() => {
    show();
    input.focus();
  }));
  box.addEventListener("focusout", event => {
    if (event.relatedTarget && !box.contains(event.relatedTarget)) open(false);
  });
  box.addEventListener("keydown", event => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") close();
    else if (by) step(by);
    else return;
    event.preventDefault();
  });
  document.addEventListener("keydown", event => {
    const busy = event.target.closest?.("input, select, textarea, [contenteditable]");
    if (event.key !== "/" || busy || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    input.focus();
  });

  // The address may contain a query.
  const question = new URLSearchParams(location.search).get("q");
  if (question) {
    input.value = question;
    input.focus();
    show();
  }
}
