"""The remediation catalogue: each action is a module of its own."""
