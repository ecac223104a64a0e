// The page: a form, a table that changes as the service tells it, and a line that says how things are.

import { Figures, inWords } from "./figures.js";
import { inStreams, messageNumbers } from "./numbers.js";
import { type Open, opener } from "./service.js";
import { overall, Status } from "./status.js";
import { Table } from "./table.js";
import { type Progress, watch } from "./watch.js";

function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`#${id} is missing`);
  return found;
}

const form = element("form", HTMLFormElement);
const service = element("service", HTMLInputElement);
const key = element("key", HTMLInputElement);
const ids = element("ids", HTMLTextAreaElement);
const idsError = element("ids-error", HTMLParagraphElement);
const pause = element("pause", HTMLButtonElement);
const sayFigures = element("say", HTMLButtonElement);
const overview = element("overview", HTMLElement);
const figures = new Figures(element("figures", HTMLDListElement), element("bar", HTMLDivElement));
const messages = element("messages", HTMLTableElement);
const body = element("rows", HTMLTableSectionElement);
const status = new Status(
  element("connection", HTMLSpanElement),
  element("summary", HTMLSpanElement),
  element("failure", HTMLDivElement),
  element("changes", HTMLParagraphElement),
);

let stop = new AbortController(); // of the streams that are open now
let paused = false;
let resume = (): void => undefined;
let shown: Table | null = null;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const numbers = messageNumbers(ids.value);
  const wrong = "wrong" in numbers ? numbers.wrong : "";
  idsError.textContent = wrong;
  ids.setAttribute("aria-invalid", String(wrong !== ""));
  if ("wrong" in numbers) {
    ids.focus();
    return;
  }
  const table = new Table(body, numbers.ids, service.value);
  const open = opener(service.value, key.value);
  shown = table;
  messages.hidden = false;
  overview.hidden = false;
  status.sayFirst(`Asking for ${table.size === 1 ? "one message" : `${table.size} messages`}.`, table);
  resume = () => follow(open, table);
  resume();
});

pause.addEventListener("click", () => {
  if (paused) resume();
  else stop.abort();
});

sayFigures.addEventListener("click", () => {
  if (shown !== null) status.sayFirst(`Of ${shown.size}: ${inWords(shown.counts)}; ${shown.final} final.`, shown);
});

/** Stream what can still change, from now until the end, a pause, or the next "Show". */
function follow(open: Open, table: Table): void {
  stop.abort();
  stop = new AbortController();
  const { signal } = stop;
  let heardAt: Date | null = null;
  const parts = inStreams(table.open);
  const streams = parts.map((): Progress => ({ kind: "connecting", trouble: null, next: null }));

  let drawn = true; // at most once a frame, however many messages change in it
  const show = () => {
    if (drawn) window.requestAnimationFrame(draw);
    drawn = false;
  };
  const draw = () => {
    drawn = true;
    if (stop.signal !== signal) return; // another "Show" came
    if (table.draw()) show();
    figures.show(table.counts);
    paused = signal.aborted;
    const now = paused ? "paused" : overall(streams, heardAt);
    pause.textContent = paused ? "Go on" : "Pause";
    pause.hidden = now === "over" || now === "refused";
    messages.setAttribute("aria-busy", String(now === "connecting"));
    status.show(now, paused ? [] : streams, table, heardAt);
  };
  signal.addEventListener("abort", show);

  parts.forEach((part, index) => {
    const listener = {
      heard: (rows: Parameters<Table["show"]>[0][]) => {
        heardAt = new Date();
        status.say(rows.map((row) => table.show(row)).filter((news) => news !== null), table);
        show();
      },
      progress: (now: Progress) => {
        streams[index] = now;
        show();
      },
    };
    void watch(open, part, listener, signal);
  });
  show();
}
