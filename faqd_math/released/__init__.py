"""What the released code computes, re-enacted in NumPy."""
