// The page: a form, a table that asks again while something can still change, and a line that says what happens.

import { type Ask, asker, messageNumbers, type Reply } from "./lookup.js";
import { change, draw, isState, type Row, settled } from "./table.js";

const EVERY_SECONDS = 3;
const MOST_IDS = 1000;

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
const table = element("messages", HTMLTableElement);
const body = element("rows", HTMLTableSectionElement);
const summary = element("summary", HTMLParagraphElement);
const changes = element("changes", HTMLParagraphElement);
const failure = element("failure", HTMLDivElement);

let rows = new Map<number, Row>();
let ask: Ask = async () => ({ kind: "unreachable" });
let address = "";
let round = 0; // of the last "Show": an answer to an older one is thrown away
let timer: number | undefined;
let paused = false;
let answeredAt: Date | null = null;

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const read = messageNumbers(ids.value);
  const wrong =
    "wrong" in read ? `“${read.wrong}” is no message number: digits only, without a leading zero.`
    : read.ids.length === 0 ? "Enter at least one message number."
    : read.ids.length > MOST_IDS ? `At most ${MOST_IDS} numbers at a time.`
    : "";
  idsError.textContent = wrong;
  ids.setAttribute("aria-invalid", String(wrong !== ""));
  if (wrong !== "" || "wrong" in read) {
    ids.focus();
    return;
  }
  address = service.value;
  ask = asker(address, key.value);
  rows = new Map(read.ids.map((id) => [id, null]));
  answeredAt = null;
  round += 1;
  setPaused(false);
  table.hidden = false;
  draw(body, rows, address);
  void refresh(round);
});

pause.addEventListener("click", () => {
  setPaused(!paused);
  if (paused) tell("Paused.");
  else void refresh(round);
});

function setPaused(value: boolean): void {
  paused = value;
  pause.textContent = paused ? "Go on" : "Pause";
  window.clearTimeout(timer);
}

async function refresh(current: number): Promise<void> {
  const open = [...rows].filter(([, row]) => !settled(row)).map(([id]) => id);
  if (open.length === 0) {
    finish();
    return;
  }
  pause.hidden = false;
  table.setAttribute("aria-busy", "true");
  tell("Asking…");
  const reply = await ask(open);
  if (current !== round) return;
  table.setAttribute("aria-busy", "false");
  const wait = Math.max(EVERY_SECONDS, take(reply));
  if ([...rows.values()].every(settled)) finish();
  else if (paused) tell("Paused.");
  else {
    tell(`Asking again in ${wait} s.`);
    timer = window.setTimeout(() => void refresh(current), wait * 1000);
  }
}

/** Show a reply; for how many seconds at least not to ask again. */
function take(reply: Reply): number {
  if (reply.kind === "answered") {
    failure.hidden = true;
    answeredAt = new Date();
    const told: string[] = [];
    for (const row of [...reply.states, ...reply.problems]) {
      told.push(change(rows.get(row.id) ?? null, row) ?? "");
      rows.set(row.id, row);
    }
    draw(body, rows, address);
    const news = told.filter(Boolean);
    if (news.length > 0) changes.textContent = news.length > 5 ? `${news.length} messages changed.` : news.join(" ");
    return 0;
  }
  if (reply.kind === "unreachable") {
    fail("The service cannot be reached", `Is it running at ${address}, and does its CORS_ORIGINS name ${location.origin}?`);
    return EVERY_SECONDS;
  }
  const { problem, retryAfter } = reply;
  fail(problem.title, `${problem.detail} (request ${problem.request_id})`, new URL(problem.type, address).href);
  return retryAfter ?? EVERY_SECONDS;
}

function fail(title: string, detail: string, link?: string): void {
  const head = document.createElement("strong");
  head.textContent = title;
  const parts: (string | Node)[] = [head, ` ${detail}`];
  if (link !== undefined) {
    const anchor = document.createElement("a");
    anchor.href = link;
    anchor.textContent = "What to do about it";
    parts.push(" ", anchor);
  }
  failure.replaceChildren(...parts);
  failure.hidden = false;
}

function finish(): void {
  pause.hidden = true;
  tell("Nothing more to ask for: all is final or not known.");
}

function tell(what: string): void {
  const known = [...rows.values()].filter(isState);
  const count = `${known.length} of ${rows.size} known, ${known.filter((row) => row.final).length} final.`;
  const when = answeredAt === null ? "No answer yet." : `Last answer ${answeredAt.toLocaleTimeString()}.`;
  summary.textContent = `${count} ${when} ${what}`;
}
