"""Makes the pages that show runs: of one, and of several beside each other."""
