//! The result of a scenario, printed in the same way by each of them.

use serde_json::{Value, json};

/// The result of a scenario.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The measured figures: a JSON object.
    pub figures: Value,
    /// The broken promises, one sentence each. Empty is a pass.
    pub violations: Vec<String>,
}

impl Outcome {
    /// The figures, with the number of violations as `violations` and the violations themselves as `violated`.
    ///
    /// # Panics
    /// If the figures are no JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut all = self.figures.as_object().expect("figures are an object").clone();
        all.insert("violations".to_owned(), json!(self.violations.len()));
        all.insert("violated".to_owned(), json!(self.violations));
        Value::Object(all)
    }

    /// Prints the result: one line of JSON, or the same indented for people, with the violations on stderr.
    pub fn print(&self, is_json: bool) {
        let all = self.to_json();
        if is_json {
            println!("{all}");
        } else {
            println!("{all:#}");
        }
        self.violations.iter().for_each(|violation| eprintln!("violated: {violation}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_figures_and_violations_side_by_side() {
        let outcome = Outcome { figures: json!({ "requests": 3 }), violations: vec!["one failed".to_owned()] };
        assert_eq!(outcome.to_json(), json!({ "requests": 3, "violations": 1, "violated": ["one failed"] }));
    }
}
