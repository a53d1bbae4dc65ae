"""`python -m pipeline`: the same as the console script `midas`."""

from midas_cli import main

main()
