"""`python -m mobilebench`: the command line, where its script is not on the path."""

from mobilebench.cli import main

if __name__ == "__main__":
    main()
