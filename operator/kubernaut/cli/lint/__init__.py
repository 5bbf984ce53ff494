"""`kubernaut lint`: what the operator would say of a Workflow, said offline and with its line."""
