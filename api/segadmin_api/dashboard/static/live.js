"use strict";
// Pages that change by themselves: #content is loaded again whenever its server-sent events say so. Without them (none
// are sent for this page, the key may not read them, or too many are open) it is loaded every few seconds.
(() => {
  const SECONDS = 3;
  const content = () => document.getElementById("content");
  const notice = document.querySelector(".notice");
  const isLive = () => content().hasAttribute("data-events");
  // What somebody has begun is not disturbed: a form that is open, and jobs that are chosen.
  const isInUse = () => content().querySelector("details.action[open], td input:checked") !== null;
  let missed = false;
  let isEnd = false;

  function load(whatever) {
    missed = !whatever && (document.hidden || isInUse());
    isEnd = whatever;
    if (!missed) content().dispatchEvent(new Event("changed"));
  }

  // A form may have been opened while the answer was on its way.
  document.addEventListener("htmx:before:swap", (event) => {
    if (event.target !== content() || isEnd || !isInUse()) return;
    missed = true;
    event.preventDefault();
  });

  function poll() {
    const timer = setInterval(() => (isLive() ? load(false) : clearInterval(timer)), SECONDS * 1000);
  }

  // The end must be seen, also if another answer was on its way.
  function finish() {
    load(true);
    setTimeout(() => isLive() && finish(), 1000);
  }

  const path = content().dataset.events;
  if (path && window.EventSource) {
    const source = new EventSource(path);
    source.addEventListener("progress", () => load(false));
    source.addEventListener("end", () => { source.close(); finish(); });
    source.addEventListener("error", () => source.readyState === EventSource.CLOSED && poll());
  } else poll();

  const catchUp = () => missed && load(false);
  document.addEventListener("visibilitychange", catchUp);
  document.addEventListener("toggle", catchUp, true);
  document.addEventListener("change", catchUp);
  // A notice is shown once; what replaces the content must not take it away.
  document.addEventListener("htmx:after:swap", () => {
    if (notice && !notice.isConnected) content().querySelector("h1").after(notice);
  });
})();
