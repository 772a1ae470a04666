//! The client over real sockets, against brokers scripted in the test.
