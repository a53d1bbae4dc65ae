"""Networks of found cells: the cells, how they are stacked, and what a network costs."""
