//! Network CA and certificates.
