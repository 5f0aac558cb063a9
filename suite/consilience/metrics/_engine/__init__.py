"""The engine behind the metrics: exact neighbours, tiles, kernels, devices. Private to `consilience.metrics`."""
