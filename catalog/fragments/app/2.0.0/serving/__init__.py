"""A language model, small enough to be read: which word follows which two."""
