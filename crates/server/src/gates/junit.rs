//! JUnit XML, the format of test programs: the number of tests, and the names of the failed ones.

use gapless_core::gate::{GateResult, TestCounts};
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;
use std::path::Path;

/// The maximum size of a report that is read, in bytes.
const REPORT_BYTES_MAX: u64 = 32 << 20;
/// The maximum number of failed tests that are named.
const NAMED_MAX: usize = 10;

/// The sum of the reports of a gate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reported {
    counts: TestCounts,
    failed: Vec<String>,
}

/// Reads every `*.xml` of a folder that is a JUnit report; `None` if there is none.
pub(super) fn read(folder: &Path) -> Option<Reported> {
    let mut all: Option<Reported> = None;
    let mut files: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "xml")) {
        // A link is not followed: it could point anywhere.
        let is_readable =
            std::fs::symlink_metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() <= REPORT_BYTES_MAX);
        let text = if is_readable { std::fs::read_to_string(file).ok() } else { None };
        if let Some(report) = text.and_then(|text| parse(&text)) {
            let all = all.get_or_insert_default();
            all.counts.run += report.counts.run;
            all.counts.failed += report.counts.failed;
            all.counts.skipped += report.counts.skipped;
            all.failed.extend(report.failed);
        }
    }
    all
}

/// Parses a report. Counts the test cases itself, since the counts of suites differ from tool to tool.
fn parse(text: &str) -> Option<Reported> {
    let mut reader = Reader::from_str(text);
    let (mut report, mut is_junit) = (Reported::default(), false);
    let mut case: Option<String> = None;
    loop {
        let event = reader.read_event().ok()?;
        let (start, is_empty) = match &event {
            Event::Start(start) => (Some(start), false),
            Event::Empty(start) => (Some(start), true),
            Event::End(end) if end.name().as_ref() == b"testcase" => {
                case = None;
                continue;
            }
            Event::Eof => return is_junit.then_some(report),
            _ => continue,
        };
        match start.map(|start| (start, start.name())) {
            Some((_, name)) if matches!(name.as_ref(), b"testsuite" | b"testsuites") => is_junit = true,
            Some((start, name)) if name.as_ref() == b"testcase" => {
                report.counts.run += 1;
                case = (!is_empty).then(|| full_name(start));
            }
            Some((_, name)) if matches!(name.as_ref(), b"failure" | b"error") => {
                // A case counts once, also with several failures.
                if let Some(name) = case.take() {
                    report.counts.failed += 1;
                    report.failed.push(name);
                }
            }
            Some((_, name)) if name.as_ref() == b"skipped" && case.is_some() => report.counts.skipped += 1,
            _ => {}
        }
    }
}

fn full_name(case: &BytesStart<'_>) -> String {
    let attribute = |name: &str| {
        let value = case.try_get_attribute(name).ok().flatten()?;
        Some(value.unescape_value().ok()?.into_owned())
    };
    let name = attribute("name").unwrap_or_default();
    match attribute("classname") {
        Some(class) if !class.is_empty() => format!("{class} {name}"),
        _ => name,
    }
}

/// Adds the reports to a result. A program that exits with 0 but reports failures has failed.
pub(super) fn judge(mut result: GateResult, reported: Option<Reported>) -> GateResult {
    let Some(Reported { counts, failed }) = reported else { return result };
    let TestCounts { run, failed: failures, skipped } = counts;
    result.summary = format!("{}; {run} tests, {failures} failed, {skipped} skipped", result.summary);
    result.passed &= failures == 0;
    result.lines.extend(failed.iter().take(NAMED_MAX).map(|name| format!("failed: {name}")));
    result.tests = Some(counts);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_and_failed_cases_are_named() {
        let text = r#"<?xml version="1.0"?>
            <testsuites><testsuite name="a" tests="99">
              <testcase classname="cart" name="adds"/>
              <testcase classname="cart" name="pays &amp; ships"><failure message="no"/><error/></testcase>
              <testcase name="later"><skipped/></testcase>
            </testsuite></testsuites>"#;
        let report = parse(text).unwrap();
        assert_eq!(report.counts, TestCounts { run: 3, failed: 1, skipped: 1 });
        assert_eq!(report.failed, ["cart pays & ships"]);
    }

    #[test]
    fn text_that_is_not_junit_is_ignored() {
        assert_eq!(parse("<html><body/></html>"), None);
        assert_eq!(parse("<testsuite><testcase"), None);
        assert_eq!(parse("not xml"), None);
    }
}
