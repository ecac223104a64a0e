// Reads a stream of server-sent events (HTML standard, section 9.2.6), as EventSource does for those who need no key.

export interface ServerEvent {
  name: string;
  data: string;
}

/** What came at once; without events it was a comment, a sign of life. `retry`: milliseconds, where the stream said so. */
export interface Heard {
  events: ServerEvent[];
  retry: number | null;
}

export async function* read(body: ReadableStream<Uint8Array>): AsyncGenerator<Heard, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parse = parser();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return; // An event that is not complete by now is none.
    yield parse(decoder.decode(value, { stream: true }));
  }
}

/** Takes the text piece by piece, wherever it is cut. Ids are left out: this service's streams begin anew. */
export function parser(): (text: string) => Heard {
  let rest = "";
  let name = "";
  let data: string[] = [];
  return (text) => {
    const heard: Heard = { events: [], retry: null };
    // A "\r" at the end may be half of a "\r\n".
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const [, field, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (line === "") {
        if (data.length > 0) heard.events.push({ name: name || "message", data: data.join("\n") });
        name = "";
        data = [];
      } else if (field === "event") name = value;
      else if (field === "data") data.push(value);
      else if (field === "retry" && /^\d+$/.test(value)) heard.retry = Number(value);
    }
    return heard;
  };
}
