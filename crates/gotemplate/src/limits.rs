//! Limits of the cost of a template.

/// The bounds of an execution of a template.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The nesting depth of blocks, parentheses and templates that call each other.
    pub depth: usize,
    /// The bytes of output.
    pub output_bytes: usize,
    /// The number of executed nodes and functions, which ends a loop that prints nothing.
    pub steps: u64,
}

impl Default for Limits {
    /// More than a configuration file needs: depth 200, 64 MiB, ten million steps.
    fn default() -> Self {
        Limits { depth: 200, output_bytes: 64 << 20, steps: 10_000_000 }
    }
}
