"""Studies: what a figure or table shows, computed on a CPU and written as a record."""
