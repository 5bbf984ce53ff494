"""The commands: each reads its arguments, asks the cluster, and shows a view."""
