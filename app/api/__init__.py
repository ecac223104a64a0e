"""The public face: routes, JSON schemas, problem documents. With ``app.main`` the only package that knows FastAPI."""
