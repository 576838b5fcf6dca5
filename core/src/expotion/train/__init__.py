"""Training of the adaptor over a frozen backbone."""
