// Says how things are: a line for those who look, a box for trouble, and few words for those who listen.

import { inWords } from "./figures.js";
import type { Trouble } from "./service.js";
import type { Table } from "./table.js";
import type { Progress } from "./watch.js";

const GATHER_MS = 300; // news that comes together is said together
const QUIET_MS = 2000; // and who listens is left to listen to the end
const MOST_SENTENCES = 5;

export type Overall = "connecting" | "reconnecting" | "live" | "paused" | "refused" | "over";

const BADGES: Record<Overall, { text: string; kind: string; meaning: string }> = {
  connecting: { text: "… connecting", kind: "pending", meaning: "" },
  reconnecting: { text: "! reconnecting", kind: "problem", meaning: "What is shown may be out of date." },
  live: { text: "● live", kind: "delivered", meaning: "Changes appear by themselves." },
  paused: { text: "‖ paused", kind: "", meaning: "What is shown may be out of date." },
  refused: { text: "✕ not connected", kind: "failed", meaning: "" },
  over: { text: "✓ complete", kind: "", meaning: "Nothing can change any more: all is final or not known." },
};

/** One word for all streams: the worst of them. */
export function overall(streams: Progress[], heardAt: Date | null): Overall {
  const kinds = new Set(streams.map(({ kind }) => kind));
  if (kinds.has("refused")) return "refused";
  if (kinds.has("waiting") || kinds.has("connecting")) return heardAt === null ? "connecting" : "reconnecting";
  return kinds.has("live") ? "live" : "over";
}

export class Status {
  #trouble = "";
  #news: string[] = [];
  #first = "";
  #said = 0;
  #timer: number | null = null;

  constructor(
    private readonly badge: HTMLElement,
    private readonly summary: HTMLElement,
    private readonly failure: HTMLElement,
    private readonly changes: HTMLElement,
  ) {}

  show(now: Overall, streams: Progress[], table: Table, heardAt: Date | null): void {
    const { text, kind, meaning } = BADGES[now];
    this.badge.textContent = text;
    this.badge.className = `badge ${kind}`;
    const next = streams.map((each) => each.next).find((date) => date !== null);
    this.summary.textContent = [
      `${table.size - table.counts.none} of ${table.size} known, ${table.final} final.`,
      heardAt === null ? "" : `Last heard from the service ${heardAt.toLocaleTimeString()}.`,
      next ? `Next try ${next.toLocaleTimeString()}.` : "",
      meaning,
    ].filter(Boolean).join(" ");
    this.#showTrouble(streams.map((each) => each.trouble).find((trouble) => trouble !== null) ?? null, now);
  }

  /** The box is an alert: each kind of trouble is said once, not with every attempt. */
  #showTrouble(trouble: Trouble | null, now: Overall): void {
    const title = trouble?.title ?? "";
    if (title === this.#trouble) return;
    if (title === "" && (now === "live" || now === "over")) this.sayFirst("Connected again.");
    this.#trouble = title;
    this.failure.hidden = trouble === null;
    if (trouble === null) return;
    const head = document.createElement("strong");
    head.textContent = trouble.title;
    this.failure.replaceChildren(head, ` ${trouble.detail} `);
    if (trouble.link !== null) {
      const anchor = document.createElement("a");
      anchor.href = trouble.link;
      anchor.textContent = "What to do about it";
      this.failure.append(anchor);
    }
  }

  /** What changed, in sentences; `table` for how things are where there are too many. */
  say(news: string[], table: Table): void {
    if (news.length === 0) return;
    this.#news.push(...news);
    this.#later(table);
  }

  /** What is said before all changes; a newer one takes its place. */
  sayFirst(sentence: string, table: Table | null = null): void {
    this.#first = sentence;
    this.#later(table);
  }

  #later(table: Table | null): void {
    if (this.#timer !== null) return;
    const wait = Math.max(GATHER_MS, this.#said + QUIET_MS - performance.now());
    this.#timer = window.setTimeout(() => this.#sayAll(table), wait);
  }

  #sayAll(table: Table | null): void {
    const many = this.#news.length > MOST_SENTENCES && table !== null;
    const news = many ? [`${this.#news.length} messages changed. ${inWords(table.counts)}.`] : this.#news;
    this.changes.textContent = [this.#first, ...news].filter(Boolean).join(" ");
    this.#news = [];
    this.#first = "";
    this.#timer = null;
    this.#said = performance.now();
  }
}
