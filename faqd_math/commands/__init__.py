"""The subcommands of ``faqd-math``, one file each: its options, and what it prints."""
