//! Reads the files that a configuration names, on the client: variables and pages.

use super::Reading;
use crate::env_file;
use crate::section::Located;
use gapless_core::validate::ERROR_PAGE_BYTES_MAX;
use std::path::{Component, Path, PathBuf};

/// The largest file of variables that is read, in bytes.
const ENV_FILE_BYTES_MAX: usize = 1 << 20;

impl Reading<'_> {
    /// The absolute form of `path`, which is relative to the folder of the configuration, without `.` and `..`.
    pub(super) fn absolute(&self, path: &str) -> PathBuf {
        let mut absolute = PathBuf::new();
        for part in self.base.join(path).components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => {
                    absolute.pop();
                }
                part => absolute.push(part),
            }
        }
        absolute
    }

    /// Reads the variables of one file.
    pub(super) fn env_file(&self, name: &Located<String>) -> Vec<(String, String)> {
        let Some((path, text)) = self.read_text(name, "the file of variables", ENV_FILE_BYTES_MAX) else {
            return Vec::new();
        };
        // Errors show the name as it was written, so that the user finds it.
        match env_file::parse(&text, &name.value) {
            Ok(variables) => {
                self.files.borrow_mut().push(path);
                variables
            }
            Err(problems) => {
                for problem in problems {
                    self.report.add(problem);
                }
                Vec::new()
            }
        }
    }

    /// Reads a page that gapless answers in place of the application; errors call it `what`.
    pub(super) fn page(&self, name: &Located<String>, what: &str) -> Option<String> {
        let (path, text) = self.read_text(name, what, ERROR_PAGE_BYTES_MAX)?;
        self.files.borrow_mut().push(path);
        Some(text)
    }

    fn read_text(&self, name: &Located<String>, what: &str, bytes_max: usize) -> Option<(PathBuf, String)> {
        let path = self.absolute(&name.value);
        match read_text(&path, bytes_max) {
            Ok(text) => Some((path, text)),
            Err(why) => {
                self.report.at(name.span.clone(), format!("{what} {} {why}", path.display()), "named here", None);
                None
            }
        }
    }
}

fn read_text(path: &Path, bytes_max: usize) -> Result<String, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    // Reading a pipe or a device might never end.
    if !metadata.is_file() {
        return Err("is not a file".to_owned());
    }
    if metadata.len() > bytes_max as u64 {
        return Err(format!("has {} bytes; the most is {bytes_max}", metadata.len()));
    }
    String::from_utf8(std::fs::read(path).map_err(unreadable)?).map_err(|_| "is not UTF-8 text".to_owned())
}
