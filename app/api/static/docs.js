// Starts Swagger UI. A file of its own, so that the page's policy needs no exception for inline scripts.
"use strict";

/** How long a stream is read before what came is shown: Swagger UI shows nothing before a response has ended. */
const STREAM_SECONDS = 10;

// Swagger UI's own dark scheme is a class. It follows the system, and is off on paper.
const dark = window.matchMedia("screen and (prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followScheme);
followScheme();

/** Like `fetch`, but an event stream ends after a while. */
async function fetchForAWhile(url, options) {
  const response = await fetch(url, options);
  if (!response.headers.get("Content-Type")?.startsWith("text/event-stream")) return response;
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  let note = "";
  const timer = window.setTimeout(() => {
    note = `: this page reads a stream for ${STREAM_SECONDS} s; the stream itself goes on\n`;
    void reader.cancel();
  }, STREAM_SECONDS * 1000);
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      text += decoder.decode(part.value, { stream: true });
    }
  } catch {
    note = ": the connection broke\n";
  }
  window.clearTimeout(timer);
  return new Response(text + note, response);
}

/** Swagger UI has no field of its own for whole numbers of 64 bits, and writes a warning for each that it draws. */
const wholeNumbers = ({ getComponent, React }) => ({
  components: {
    JsonSchema_integer_int64: (props) => React.createElement(getComponent("JsonSchema_string"), props),
  },
});

/** Parts that stand outside of Swagger UI's `main`, each as a landmark with a name of its own. */
const landmarks = ({ React }) => {
  const named = (name) => (Original) => (props) =>
    React.createElement("section", { "aria-label": name }, React.createElement(Original, props));
  return { wrapComponents: { InfoContainer: named("Introduction"), AuthorizeBtnContainer: named("Authorization") } };
};

window.ui = window.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  // The two lookups open, schemas folded: whoever comes here first wants to ask for a message.
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  defaultModelExpandDepth: 3,
  // Swagger UI would ask a validator on the internet about a document that does not come from localhost.
  validatorUrl: null,
  requestInterceptor: (request) => Object.assign(request, { userFetch: fetchForAWhile }),
  plugins: [wholeNumbers, landmarks],
});
