"""The platform behind ``state.php``: the only package that knows its format and the HTTP client."""
