"""One module per revision; each is plain SQL, up and down."""
