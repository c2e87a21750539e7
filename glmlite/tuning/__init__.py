"""Which runtime settings are fastest on this machine: measured, kept in the bundle, applied."""
