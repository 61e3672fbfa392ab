//! Byte-exact views and builders, one protocol a file.
