//! What is generated, as a person would read it.
