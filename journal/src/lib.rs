//! Topics, partitions and offsets: the log trait, its embedded and its Fluvio back end.
