"""Every study whole in one place: what it computes, its record, its figures and tables."""
