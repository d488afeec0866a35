"""`python -m mobile_vla` is the console script."""

from mobile_vla.cli.main import main

if __name__ == "__main__":
    main()
