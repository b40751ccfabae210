"""Where and with what: adapters to the outside world, without any idea of a stage."""
