//! The program against Debian's real mosquitto, and across network namespaces. What this machine cannot do is skipped
//! aloud, with the reason. Not one of these servers knows us [MQTT311-7.0.0-2].
#![cfg(unix)]

mod broker;
mod certificates;
mod evidence;
mod failover;
mod families;
mod frozen;
mod kernel;
mod killed;
mod login;
mod namespaces;
mod process;
mod program;
mod proxies;
#[path = "../../../rejoin/tests/it/skipped.rs"]
mod skipped;
mod tls;
mod verdict;
