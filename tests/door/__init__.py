"""The HTTP server against odd, slow and hostile clients, over real sockets."""
