"""The store of results: sealed JSON files of runs, studies and claims, and how they come in."""
