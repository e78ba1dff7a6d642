"""What params.yaml says, as frozen values: recipe, protocol, suite, machine settings."""
