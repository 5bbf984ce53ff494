"""What commands print: pure functions from models to rich renderables."""
