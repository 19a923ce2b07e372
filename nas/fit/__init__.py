"""`nas fit`: from a folder of pictures and a time to a model: the clock, the plan, and the result."""
