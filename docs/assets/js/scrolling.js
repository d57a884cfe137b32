// Lets the keyboard reach tables and formulas that scroll sideways; the theme does so for code.

{
  const look = () => {
    for (const place of document.querySelectorAll(".md-typeset__scrollwrap, .atlas-formula")) {
      if (place.scrollWidth > place.clientWidth) place.tabIndex = 0;
      else place.removeAttribute("tabindex");
    }
  };
  new ResizeObserver(look).observe(document.querySelector(".md-content"));
  addEventListener("load", look); // by then the theme has put tables into their wrappers
}
