// Draws the table of messages and tells what changed in it.

import type { MessageProblem, MessageState } from "./lookup.js";

export type Row = MessageState | MessageProblem | null; // null: not answered yet

const OUTCOMES: Record<MessageState["outcome"], string> = {
  pending: "… pending",
  delivered: "✓ delivered",
  failed: "✕ failed",
  unknown: "? unknown",
};

export const isState = (row: Row): row is MessageState => row !== null && "outcome" in row;

/** Whether asking again can bring something else. */
export function settled(row: Row): boolean {
  if (row === null) return false;
  return isState(row) ? row.final : row.status === 404;
}

/** What a listener has to know of a row: nothing where it is as before. */
export function change(before: Row, now: Row): string | null {
  const words = (row: Row) => (row === null ? "" : isState(row) ? row.outcome : row.title);
  if (now === null || words(before) === words(now)) return null;
  return `Message ${now.id}: ${words(now)}.`;
}

export function draw(body: HTMLTableSectionElement, rows: Map<number, Row>, service: string): void {
  body.replaceChildren(...[...rows].map(([id, row]) => drawRow(id, row, service)));
}

function drawRow(id: number, row: Row, service: string): HTMLTableRowElement {
  const line = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = String(id);
  line.append(head);
  if (row === null) line.append(cell("asking…", "quiet"), ...dashes(4));
  else if (isState(row)) line.append(...stateCells(row));
  else line.append(problemCell(row, service), ...dashes(4));
  return line;
}

function stateCells(row: MessageState): HTMLTableCellElement[] {
  const outcome = cell("");
  outcome.append(badge(OUTCOMES[row.outcome], row.outcome));
  const word = cell("");
  const code = document.createElement("code");
  code.textContent = row.state;
  word.append(code, row.final ? " · final" : "");
  const changed = cell(row.changed_at === null ? "–" : "");
  if (row.changed_at !== null) {
    const time = document.createElement("time");
    time.dateTime = row.changed_at;
    time.textContent = new Date(row.changed_at).toLocaleString();
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

const dashes = (count: number) => Array.from({ length: count }, () => cell("–", "quiet"));
