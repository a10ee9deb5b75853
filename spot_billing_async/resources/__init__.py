"""Resources: one thin class for each tag of the contract."""
