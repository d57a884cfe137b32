// The state of a page in its address, which readers can share and the back button restores.

let typing = false;

/** Read the state. */
export const read = () => new URLSearchParams(location.search);

/** Write the state to the address as a new history entry; typing adds only one entry. */
export function write(state, { typed = false } = {}) {
  const query = state.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
  const address = location.pathname + (query && `?${query}`) + location.hash;
  if (address === location.pathname + location.search + location.hash) return;
  history[typed && typing ? "replaceState" : "pushState"](null, "", address);
  typing = typed;
}

/** Write the values of one form; those of other forms stay, and unknown names are dropped. */
export function writeForm(form, given, options) {
  const names = fields => new Set([...fields].map(field => field.name));
  const [known, own] = [names(document.querySelectorAll("form [name]")), names(form.elements)];
  const state = read();
  for (const name of [...state.keys()]) if (own.has(name) || !known.has(name)) state.delete(name);
  for (const [name, value] of Object.entries(given)) state.set(name, value);
  write(state, options);
}

/** Mark the page as showing the state of its address, for tests that wait for it. */
export const shown = () => { document.documentElement.dataset.shows = location.search; };

/** Mark the page as still loading the state of its address. */
export const working = () => { delete document.documentElement.dataset.shows; };

/** Call `show` whenever the reader goes back or forward to another state. */
export const onReturn = show => addEventListener("popstate", () => {
  typing = false;
  show();
});

/** Let the theme's link to the content lead to the first row of a table, which `target` returns. */
export function skipTo(target) {
  const link = document.querySelector(".md-skip");
  link.textContent = "Skip to the table";
  link.addEventListener("click", event => {
    event.preventDefault();
    target().focus();
  });
}

/** Call `change` after each input of a form, and after `empty` has reset it. */
export function drive(form, { change, empty, restore }) {
  form.addEventListener("change", change);
  form.addEventListener("submit", event => event.preventDefault());
  form.addEventListener("reset", event => {
    event.preventDefault();
    empty();
    change();
  });
  onReturn(restore);
}

/** Return a function that shares the promise of `make`; after a failure, the next call tries again. */
export function once(make) {
  let promise;
  return () => promise ??= make().catch(error => {
    promise = undefined;
    throw error;
  });
}

/** Create an element with attributes and children; text is not parsed as HTML. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
