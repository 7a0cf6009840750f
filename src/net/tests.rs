//! Requests against real servers on the loopback address, which no flag could make reachable.
