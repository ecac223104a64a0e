// Keeps one stream open until nothing can change any more: whenever it ends or breaks, it is opened again.

import { read, type ServerEvent } from "./events.js";
import type { MessageProblem, MessageState, Open, Trouble } from "./service.js";
import { settled } from "./table.js";

export const MOST_IDS_IN_A_STREAM = 100;
const FIRST_PAUSE_MS = 1000; // unless the stream says `retry:`
const LONGEST_PAUSE_MS = 30_000;
const SILENCE_MS = 45_000; // three of the comments that the service sends every 15 s

export interface Progress {
  kind: "connecting" | "live" | "waiting" | "refused" | "over";
  trouble: Trouble | null; // of the last attempt, until one succeeds
  next: Date | null; // the next attempt, while waiting
}

export interface Listener {
  heard: (rows: (MessageState | MessageProblem)[]) => void; // none of them: a sign of life
  progress: (now: Progress) => void;
}

export async function watch(open: Open, ids: number[], listener: Listener, signal: AbortSignal): Promise<void> {
  const left = new Set(ids);
  let trouble: Trouble | null = null;
  let pause = FIRST_PAUSE_MS;
  let failures = 0;
  const progress = (kind: Progress["kind"], next: Date | null = null) => listener.progress({ kind, trouble, next });

  while (!signal.aborted) {
    progress("connecting");
    const guard = silenceGuard(signal);
    const opened = await open([...left], guard.signal);
    if (signal.aborted) return guard.stop();
    trouble = "trouble" in opened ? opened.trouble : null;
    if (trouble && !trouble.passes) {
      guard.stop();
      return progress("refused");
    }
    if ("body" in opened) {
      progress("live");
      try {
        for await (const { events, retry } of read(opened.body)) {
          guard.heard();
          pause = retry ?? pause;
          const rows = events.flatMap(rowOf);
          for (const row of rows) if (settled(row)) left.delete(row.id);
          listener.heard(rows);
          failures = 0;
          if (events.some((event) => event.name === "end")) left.clear();
        }
      } catch {
        // The connection broke, was silent for too long, or brought what is no event of this service.
      }
    }
    guard.stop();
    if (signal.aborted) return;
    if (left.size === 0) return progress("over");
    const wait = Math.max(grown(pause, failures), (trouble?.retryAfter ?? 0) * 1000);
    failures += 1;
    progress("waiting", new Date(Date.now() + wait));
    await sleep(wait, signal);
  }
}

function rowOf(event: ServerEvent): (MessageState | MessageProblem)[] {
  // The OpenAPI document cannot say what is in an event; `docs/watching.md` does.
  if (event.name === "state") return [JSON.parse(event.data) as MessageState];
  if (event.name === "problem") return [JSON.parse(event.data) as MessageProblem];
  return [];
}

/** Doubles with each failure, and differs from page to page: they all lost their stream in the same moment. */
function grown(pause: number, failures: number): number {
  return Math.max(pause, Math.min(pause * 2 ** failures, LONGEST_PAUSE_MS)) * (1 + Math.random() / 4);
}

/** A connection that is gone without a word, as after a change of the network, looks just like a quiet one. */
function silenceGuard(outer: AbortSignal): { signal: AbortSignal; heard: () => void; stop: () => void } {
  const own = new AbortController();
  const limit = () => window.setTimeout(() => own.abort(), SILENCE_MS);
  let timer = limit();
  const heard = () => {
    window.clearTimeout(timer);
    timer = limit();
  };
  const stop = () => {
    window.clearTimeout(timer);
    own.abort();
  };
  return { signal: AbortSignal.any([outer, own.signal]), heard, stop };
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      window.clearTimeout(timer);
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const timer = window.setTimeout(wake, ms);
    signal.addEventListener("abort", wake);
  });
}
