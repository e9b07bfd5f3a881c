//! Lab cloud.
