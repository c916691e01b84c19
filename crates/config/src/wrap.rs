//! Lines of a limited length, for generated text.

/// `text` in lines of at most `chars_max` characters, each with `prefix` in front, broken at spaces.
pub(crate) fn wrap(text: &str, prefix: &str, chars_max: usize) -> String {
    let mut lines = vec![prefix.to_owned()];
    for word in text.split(' ') {
        let Some(line) = lines.last_mut() else { continue };
        if line.chars().count() + 1 + word.chars().count() > chars_max {
            lines.push(format!("{prefix}{word}"));
        } else {
            if line.len() > prefix.len() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}
