"""The store: images that were decoded once, in files that are read at random and checked.

Each dataset has a folder of its own, an entry. An entry is written by `build` and read by
`StoredImages`; `entries` lists and deletes them.
"""
