"""Work on more images than fit into one run or one machine, in shards, locally or on Ray (extra [cluster])."""
