"""One thin class for each tag of the API: it checks arguments and names the operation."""
