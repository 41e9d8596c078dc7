"""One decoder module per wire format; each is a pure function of bytes."""
