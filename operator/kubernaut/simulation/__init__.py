"""What a Workflow would do: its whole plan against a copy of the cluster's state. Nothing reaches the cluster."""
