"""`python -m eastwatch` is the command `eastwatch`."""

from eastwatch.cli import main

if __name__ == "__main__":
    main()
