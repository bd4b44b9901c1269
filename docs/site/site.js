// Tables and equations that are wider than the page can be scrolled by the keyboard. The theme does this for code.
const observer = new ResizeObserver((changes) => {
  for (const { target } of changes) {
    const isWide = target.scrollWidth > target.clientWidth
    const role = target.matches(".equation") ? "Equation" : "Table"
    const attributes = { tabindex: 0, role: "region", "aria-label": `${role}, scrolls sideways` }
    for (const [name, value] of Object.entries(attributes)) {
      if (isWide) target.setAttribute(name, value)
      else target.removeAttribute(name)
    }
  }
})

addEventListener("load", () => {
  for (const region of document.querySelectorAll(".md-typeset__scrollwrap, .equation")) observer.observe(region)
})
