//! The server against pages that misbehave, with limits small enough to be reached in a test.
