// Draws the table of messages and tells what changed in it.

import { type Counts, kindOf, label, noCounts } from "./figures.js";
import type { MessageProblem, MessageState } from "./service.js";

export type Row = MessageState | MessageProblem | null; // null: not answered yet

// One for all rows: to make one takes longer than to draw a row.
const LOCAL_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

const MOST_ROWS_A_FRAME = 40;

const isState = (row: Row): row is MessageState => row !== null && "outcome" in row;

/** Whether nothing else can come: the state is final, or the platform does not know the message. */
export function settled(row: Row): boolean {
  if (row === null) return false;
  return isState(row) ? row.final : row.status === 404;
}

/** What a listener has to know of a row: nothing where it is as before. */
function change(before: Row, now: Row): string | null {
  const words = (row: Row) => (row === null ? "" : isState(row) ? row.outcome : row.title);
  if (now === null || words(before) === words(now)) return null;
  return `Message ${now.id}: ${words(now)}.`;
}

/** The rows by message number. Each is drawn by itself, so that a change elsewhere takes no focus from a link. */
export class Table {
  readonly #body: HTMLTableSectionElement;
  readonly #service: string;
  readonly #rows = new Map<number, { row: Row; line: HTMLTableRowElement }>();
  readonly #undrawn = new Set<number>();
  readonly counts: Counts = noCounts();
  /** How many states never change again. */
  final = 0;

  constructor(body: HTMLTableSectionElement, ids: number[], service: string) {
    this.#body = body;
    this.#service = service;
    for (const id of ids) this.#rows.set(id, { row: null, line: drawRow(id, null, service) });
    this.counts.none = this.size;
    this.#body.replaceChildren(...[...this.#rows.values()].map(({ line }) => line));
  }

  get size(): number {
    return this.#rows.size;
  }

  /** The messages of which news can come. */
  get open(): number[] {
    return [...this.#rows].filter(([, { row }]) => !settled(row)).map(([id]) => id);
  }

  /** Take what became of a message, to be drawn soon; what a listener has to know of it. */
  show(row: MessageState | MessageProblem): string | null {
    const shown = this.#rows.get(row.id);
    if (shown === undefined) return null;
    this.#count(shown.row, -1);
    this.#count(row, 1);
    const news = change(shown.row, row);
    shown.row = row;
    this.#undrawn.add(row.id);
    return news;
  }

  /** Draw the next rows that changed, so few that the page stays smooth; whether some are left for the next frame. */
  draw(): boolean {
    for (const id of [...this.#undrawn].slice(0, MOST_ROWS_A_FRAME)) {
      this.#undrawn.delete(id);
      const shown = this.#rows.get(id);
      if (shown === undefined) continue;
      const line = drawRow(id, shown.row, this.#service);
      shown.line.replaceWith(line);
      shown.line = line;
    }
    return this.#undrawn.size > 0;
  }

  #count(row: Row, by: number): void {
    this.counts[kindOf(row)] += by;
    if (isState(row) && row.final) this.final += by;
  }
}

function drawRow(id: number, row: Row, service: string): HTMLTableRowElement {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = String(id);
  line.append(head);
  if (row === null) line.append(cell("no answer yet", "quiet"), ...dashes());
  else if (isState(row)) line.append(...stateCells(row));
  else line.append(problemCell(row, service), ...dashes());
  return line;
}

function stateCells(row: MessageState): HTMLTableCellElement[] {
  const outcome = cell("");
  outcome.append(badge(label(row.outcome), row.outcome));
  const word = cell("");
  const code = document.createElement("code");
  code.textContent = row.state;
  word.append(code, row.final ? " · final" : "");
  const changed = cell(row.changed_at === null ? "–" : "");
  if (row.changed_at !== null) {
    const time = document.createElement("time");
    time.dateTime = row.changed_at;
    time.textContent = LOCAL_TIME.format(new Date(row.changed_at));
    changed.append(time);
  }
  return [
    outcome, word, changed,
    cell(row.parts === null ? "–" : String(row.parts), "number"), cell(row.price_per_part ?? "–", "number"),
  ];
}

function problemCell(row: MessageProblem, service: string): HTMLTableCellElement {
  const found = cell("");
  const link = document.createElement("a");
  link.href = new URL(row.type, service).href;
  link.textContent = row.title;
  found.append(badge(row.status === 404 ? "– not known" : "! no answer", "problem"), " ", link);
  return found;
}

function badge(text: string, kind: string): HTMLSpanElement {
  const span = document.createElement("span");
  span.className = `badge ${kind}`;
  span.textContent = text;
  return span;
}

function cell(text: string, kind = ""): HTMLTableCellElement {
  const made = document.createElement("td");
  made.textContent = text;
  made.className = kind;
  return made;
}

const dashes = () => ["quiet", "quiet", "quiet number", "quiet number"].map((kind) => cell("–", kind));
