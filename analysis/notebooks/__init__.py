"""The notebooks, kept as MyST Markdown, and what shows and runs them."""
