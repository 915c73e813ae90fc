"""Rows from files of any kind: which files a path means, what kind each is, and its rows one after the other."""
