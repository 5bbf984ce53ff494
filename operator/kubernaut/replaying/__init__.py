"""Past runs under another content of their Workflow: the decisions of ``core``, made again from recorded facts."""
