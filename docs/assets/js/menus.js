// Small menus: one is open at a time, Escape closes it, and all are closed for printing.

/** Keep one `details` element open at a time, and close it on a click or focus elsewhere. */
export function menus(elements) {
  const close = but => {
    for (const element of elements) if (element !== but) element.open = false;
  };
  const within = ({ target }) => elements.find(element => element.contains(target));
  for (const element of elements) {
    element.addEventListener("toggle", () => {
      if (!element.open) return;
      close(element);
      element.classList.remove("is-at-end");
      const { right } = element.lastElementChild.getBoundingClientRect();
      element.classList.toggle("is-at-end", right > document.documentElement.clientWidth);
    });
  }
  for (const event of ["pointerdown", "focusin"]) {
    document.addEventListener(event, happened => close(within(happened)));
  }
  document.addEventListener("keydown", event => {
    const menu = event.key === "Escape" && within(event);
    if (!menu?.open) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  addEventListener("beforeprint", () => close());
}
