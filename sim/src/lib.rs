//! Simulated venues and traders: real servers that speak the venues' formats, with faults on demand.
