"""What operators see of the service. Usable from every room, uses none."""
