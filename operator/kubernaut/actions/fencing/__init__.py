"""How an effect happens once: marks, before-images, the loop around each patch."""
