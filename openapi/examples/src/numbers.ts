// Reads what people type into the field of message numbers.

import { MOST_IDS_IN_A_STREAM } from "./watch.js";

/** Over HTTP/1.1 browsers hold six connections to a service; the sixth is for everything else. */
const MOST_STREAMS = 5;
const MOST_IDS = MOST_STREAMS * MOST_IDS_IN_A_STREAM;

/** The distinct numbers in a text, or what is wrong with it. */
export function messageNumbers(text: string): { ids: number[] } | { wrong: string } {
  const words = text.split(/[\s,;]+/).filter(Boolean);
  const bad = words.find((word) => !/^[1-9]\d{0,15}$/.test(word) || !Number.isSafeInteger(Number(word)));
  if (bad !== undefined) return { wrong: `“${bad}” is no message number: digits only, without a leading zero.` };
  const ids = [...new Set(words.map(Number))];
  if (ids.length === 0) return { wrong: "Enter at least one message number." };
  return ids.length > MOST_IDS ? { wrong: `At most ${MOST_IDS} numbers at a time.` } : { ids };
}

/** In parts that one stream carries. */
export function inStreams(ids: number[]): number[][] {
  const count = Math.ceil(ids.length / MOST_IDS_IN_A_STREAM);
  return Array.from({ length: count }, (_, index) =>
    ids.slice(index * MOST_IDS_IN_A_STREAM, (index + 1) * MOST_IDS_IN_A_STREAM),
  );
}
