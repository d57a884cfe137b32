// Facets as small menus of a form: one is open at a time, Escape closes it, paper shows none open.

/** Let elements of a form open one at a time. */
export function menus(form, elements) {
  const close = except => {
    for (const element of elements) if (element !== except) element.open = false;
  };
  for (const element of elements) {
    element.addEventListener("toggle", () => {
      if (!element.open) return;
      close(element);
      element.classList.remove("atlas-facet--end");
      const { right } = element.querySelector("fieldset").getBoundingClientRect();
      element.classList.toggle("atlas-facet--end", right > document.documentElement.clientWidth);
    });
  }
  document.addEventListener("click", event => close(event.target.closest?.(".atlas-facet")));
  form.addEventListener("keydown", event => {
    const open = event.key === "Escape" && event.target.closest("details[open]");
    if (!open) return;
    open.open = false;
    open.querySelector("summary").focus();
  });
  addEventListener("beforeprint", () => close());
}
