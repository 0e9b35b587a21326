"""`python -m credstream`: the same as the console script."""

from credstream.cli import main

if __name__ == "__main__":
    main(prog_name="credstream")
