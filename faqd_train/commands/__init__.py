"""The subcommands of faqd-train."""
