"use strict";
// A checkbox with data-choose="NAME" checks and clears all of that name; without this script, it is not shown.
(() => {
  function show() {
    for (const label of document.querySelectorAll(".choose-all[hidden]")) {
      label.hidden = false;
      label.nextElementSibling.hidden = true;
    }
  }
  document.addEventListener("change", (event) => {
    const name = event.target.dataset.choose;
    if (!name) return;
    for (const box of document.querySelectorAll(`input[name="${name}"]`)) box.checked = event.target.checked;
  });
  document.addEventListener("htmx:after:swap", show);
  show();
})();
