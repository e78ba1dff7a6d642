"""mobilebench: does a lightweight vision model that is good on one dataset stay good on others?"""

__version__ = "0.1.0"
