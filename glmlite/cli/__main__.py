"""`python -m glmlite.cli`: the same as the console script."""

from glmlite.cli import main

main()
