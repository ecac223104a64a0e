"""The lookup engine. It knows neither HTTP framework nor HTTP client, only ids, records and failures."""
