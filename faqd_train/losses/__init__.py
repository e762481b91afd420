"""FA and FFA in torch: values, gradients, probes."""
