"""What can be wrong before a run begins: this machine, its store and its servers, each with the remedy."""
