// The state of a page in its address: shared by copying it, restored by the back button.

let typing = false;

/** Read the state. */
export const read = () => new URLSearchParams(location.search);

/** Put the state into the address: a new step for the back button, but typing is one step. */
export function write(state, { typed = false } = {}) {
  const query = state.toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
  const address = location.pathname + (query && `?${query}`) + location.hash;
  if (address === location.pathname + location.search + location.hash) return;
  history[typed && typing ? "replaceState" : "pushState"](null, "", address);
  typing = typed;
}

/** Say on the page which state it shows, so that whoever drives it need not guess when. */
export const shown = () => { document.documentElement.dataset.shows = location.search; };

/** Say that the page is still at work on what its address asks for. */
export const working = () => { delete document.documentElement.dataset.shows; };

/** Call `show` whenever the reader goes back or forward to another state. */
export const onReturn = show => addEventListener("popstate", () => {
  typing = false;
  show();
});

/** Let a form drive the page: `change` at each choice and once `empty` has cleared them all. */
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

/** Make an element with attributes and children; text stays text. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
