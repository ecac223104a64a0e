// Asks the service for the states of many messages. Everything that can come back is a value here, never an exception.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

export type MessageState = components["schemas"]["MessageState"];
export type MessageProblem = components["schemas"]["MessageProblem"];
export type Problem = components["schemas"]["Problem"];

export type Reply =
  | { kind: "answered"; states: MessageState[]; problems: MessageProblem[] }
  | { kind: "refused"; problem: Problem; retryAfter: number | null }
  | { kind: "unreachable" };

export type Ask = (ids: number[]) => Promise<Reply>;

export function asker(service: string, key: string): Ask {
  const client = createClient<paths>({ baseUrl: service, headers: key ? { "X-API-Key": key } : {} });
  return async (ids) => {
    try {
      const { data, error, response } = await client.POST("/messages/states", { body: { ids, detail: true } });
      if (data) return { kind: "answered", states: data.states, problems: data.problems };
      return { kind: "refused", problem: error, retryAfter: Number(response.headers.get("Retry-After")) || null };
    } catch {
      // No network, no CORS for this page, or something in between that does not speak JSON.
      return { kind: "unreachable" };
    }
  };
}

/** The numbers in a text, or the first word that is none. */
export function messageNumbers(text: string): { ids: number[] } | { wrong: string } {
  const words = text.split(/[\s,;]+/).filter(Boolean);
  const wrong = words.find((word) => !/^[1-9]\d{0,15}$/.test(word) || !Number.isSafeInteger(Number(word)));
  return wrong === undefined ? { ids: [...new Set(words.map(Number))] } : { wrong };
}
