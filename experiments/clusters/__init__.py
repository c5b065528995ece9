"""Where a job runs: one file for each kind of cluster behind one interface; `table.py` names them."""
