"""How it is done: every folder is a stage, and stages know each other only as receipts."""
