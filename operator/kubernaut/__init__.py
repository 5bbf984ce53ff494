"""Kubernaut: a Kubernetes operator that repairs workloads by declared workflows and learns from its history."""

__version__ = "0.1.0"
