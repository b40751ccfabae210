"""Stage: rows → templated, weighted tokens in flat files, with a packing index and a report. Needs the tokenizer only."""
