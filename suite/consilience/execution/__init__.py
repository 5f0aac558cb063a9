"""Where tasks are run: the executor protocol, and one module per back end."""
