// Opens streams of the service. Everything that can come back is a value here, never an exception.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

export type MessageState = components["schemas"]["MessageState"];
export type MessageProblem = components["schemas"]["MessageProblem"];

/** Why there is no stream, in words for people; `passes`: whether it makes sense to try again. */
export interface Trouble {
  title: string;
  detail: string;
  link: string | null;
  passes: boolean;
  retryAfter: number | null; // seconds
}

export type Opened = { body: ReadableStream<Uint8Array> } | { trouble: Trouble };

export type Open = (ids: number[], signal: AbortSignal) => Promise<Opened>;

/** Reads with fetch, since the browser's own EventSource cannot send a key. */
export function opener(service: string, key: string): Open {
  const client = createClient<paths>({ baseUrl: service, headers: key ? { "X-API-Key": key } : {} });
  return async (ids, signal) => {
    try {
      const { data, error, response } = await client.GET("/messages/states/events", {
        params: { query: { id: ids, detail: true } },
        parseAs: "stream",
        cache: "no-store",
        signal,
      });
      const isStream = response.headers.get("Content-Type")?.startsWith("text/event-stream");
      return data && isStream ? { body: data } : { trouble: refusal(response, error, service) };
    } catch {
      return { trouble: unreachable(service) };
    }
  };
}

/** `problem` is what the document promises; something in between may have answered instead. */
function refusal(response: Response, problem: components["schemas"]["Problem"] | undefined, service: string): Trouble {
  const { status } = response;
  const known = problem?.type ? problem : null;
  return {
    title: known?.title ?? "This was not the service's answer",
    detail: known ? `${known.detail} (request ${known.request_id})` : `Status ${status}, neither a stream nor a problem.`,
    link: known && new URL(known.type, service).href,
    // Another key or other numbers are needed after most of 4xx: asking the same again would bring the same.
    passes: status >= 500 || status === 429 || status === 408,
    retryAfter: Number(response.headers.get("Retry-After")) || null,
  };
}

/** No network or no CORS for this page: scripts are not told which. */
function unreachable(service: string): Trouble {
  return {
    title: "The service cannot be reached",
    detail: `Is it running at ${service}, and does its CORS_ORIGINS name ${location.origin}?`,
    link: null,
    passes: true,
    retryAfter: null,
  };
}
