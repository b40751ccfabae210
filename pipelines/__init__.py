"""What happens: flows, the recipe, the command line. No logic."""
