"""Configs of other tools as recipes."""
