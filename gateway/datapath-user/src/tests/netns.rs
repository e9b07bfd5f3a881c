//! Real TAP devices in network namespaces.
