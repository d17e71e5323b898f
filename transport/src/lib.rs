//! Turns a target into a byte stream each way plus the peer's identity.
