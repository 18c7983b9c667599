//! Any three texts, one a line: no panic, and the keys of those that parse are totally ordered.
#![no_main]

use advisory::Order;

libfuzzer_sys::fuzz_target!(|text: &str| palisade_fuzz::check_order(Order::Rpm, text));
