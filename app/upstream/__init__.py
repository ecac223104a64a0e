"""The platform behind ``state.php``: the only room that knows its format and the HTTP client."""
