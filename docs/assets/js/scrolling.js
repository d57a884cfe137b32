// Makes tables and formulas that scroll sideways focusable; the theme does this for code.

{
  const look = () => {
    for (const place of document.querySelectorAll(".md-typeset__scrollwrap, .atlas-formula")) {
      if (place.scrollWidth > place.clientWidth) place.tabIndex = 0;
      else place.removeAttribute("tabindex");
    }
  };
  new ResizeObserver(look).observe(document.querySelector(".md-content"));
  addEventListener("load", look); // after the theme has wrapped the tables
}
