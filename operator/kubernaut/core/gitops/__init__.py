"""Who else keeps the fields of an object, and would set them back: found in the object itself. Pure."""
