"""Work on more pictures than fit into one run or one machine: in shards, here or on Ray (the extra [cluster])."""
