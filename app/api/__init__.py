"""The public face: routes, JSON schemas, problem documents. With ``app.main`` the only room that knows FastAPI."""
