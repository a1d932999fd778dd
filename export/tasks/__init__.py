"""Steps that differ between the tasks of networks: weights are read, and a file is compared with them."""
