"""What operators see of the service. Usable from every package, uses none."""
