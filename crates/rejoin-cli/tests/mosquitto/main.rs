//! The program against Debian's real mosquitto, and across network namespaces. What this machine cannot do is skipped
//! aloud, with the reason.
#![cfg(unix)]

mod broker;
mod evidence;
mod frozen;
mod killed;
mod namespaces;
mod program;
mod verdict;
