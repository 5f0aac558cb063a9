"""Running other people's code apart: environments, the worker inside them, and jobs."""
