"""What the losses and a training step cost, beside the released algorithms: `faqd-train bench`."""
