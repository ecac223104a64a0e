// Starts Swagger UI. A file of its own, so that the page's policy needs no exception for inline scripts.
"use strict";

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
});
