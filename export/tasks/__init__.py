"""What differs between the tasks of networks: how weights are read, and how a file is compared with them."""
