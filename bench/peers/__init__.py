"""What this service is compared with. Knows nothing of ``app``, so that any commit can be measured against it."""
