"""Planning of a sync: the days that are due, and the windows in which they are requested."""
