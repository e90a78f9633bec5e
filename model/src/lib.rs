//! The words of the field: instruments, venues, exact numbers, records and their codecs.
