// Shows how many messages have which outcome: as figures, as one bar, and in words for those who listen.

import type { MessageState } from "./service.js";
import type { Row } from "./table.js";

/** What a message counts as; `none`: it has no state, since it is not known or not answered. */
export type Kind = MessageState["outcome"] | "none";

const KINDS: Record<Kind, { sign: string; words: string }> = {
  delivered: { sign: "✓", words: "delivered" },
  pending: { sign: "…", words: "pending" },
  failed: { sign: "✕", words: "failed" },
  unknown: { sign: "?", words: "unknown" },
  none: { sign: "–", words: "without a state" },
};

export function kindOf(row: Row): Kind {
  return row !== null && "outcome" in row ? row.outcome : "none";
}

export function label(kind: Kind): string {
  return `${KINDS[kind].sign} ${KINDS[kind].words}`;
}

export type Counts = Record<Kind, number>;

export function noCounts(): Counts {
  return { delivered: 0, pending: 0, failed: 0, unknown: 0, none: 0 };
}

/** "2 delivered, 1 pending, 0 failed, 1 unknown"; what is without a state only where there is any. */
export function inWords(counts: Counts): string {
  return kinds()
    .filter((kind) => kind !== "none" || counts.none > 0)
    .map((kind) => `${counts[kind]} ${KINDS[kind].words}`)
    .join(", ");
}

const kinds = () => Object.keys(KINDS) as Kind[];

/** Built once; afterwards only numbers and widths change. */
export class Figures {
  readonly #numbers = new Map<Kind, { number: HTMLElement; segment: HTMLElement }>();

  constructor(list: HTMLDListElement, bar: HTMLDivElement) {
    for (const kind of kinds()) {
      const figure = document.createElement("div");
      figure.className = `figure ${kind}`;
      const name = document.createElement("dt");
      name.textContent = label(kind);
      const number = document.createElement("dd");
      figure.append(name, number);
      list.append(figure);
      const segment = document.createElement("span");
      segment.className = kind;
      bar.append(segment);
      this.#numbers.set(kind, { number, segment });
    }
  }

  show(counts: Counts): void {
    for (const [kind, { number, segment }] of this.#numbers) {
      const text = String(counts[kind]);
      if (number.textContent === text) continue;
      number.textContent = text;
      segment.style.flexGrow = text;
    }
  }
}
