"""`python -m hgqify` is the command line."""

from hgqify.cli import main

if __name__ == "__main__":
    main(prog_name="hgqify")
