//! `gapless logs`: prints the output of an application's instances.

use crate::args::Logs;
use crate::exit::Failure;
use crate::present::{again, json, local_time};
use gapless_api::{Client, ClientError, LogRecord};
use gapless_core::Timestamp;
use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;

/// The largest number of lines of an instance that the server sends at once.
const LINES_MAX: usize = 10_000;

/// Prints the output, and follows it through restarts of the server.
pub async fn run(args: Logs, client: &Client) -> Result<ExitCode, Failure> {
    let key = args.app.key()?;
    let ask = async |lines| client.logs(&key, args.slot, args.service.as_ref(), lines, args.follow).await;
    let mut lines = ask(args.lines).await?;
    let mut shown = Shown::default();
    loop {
        let line = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
            line = lines.next() => line,
        };
        let line = match line {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(ExitCode::SUCCESS),
            Err(ClientError::Broken(_)) if args.follow => {
                eprintln!("{}", again::AWAY);
                let Some(read_again) = again::ask(async || ask(LINES_MAX).await).await? else {
                    return Ok(ExitCode::SUCCESS);
                };
                lines = read_again;
                shown.read_again();
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !shown.is_new(&line) {
            continue;
        }
        let text = if args.json { json::line(&line)? } else { plain(&line) };
        // A reader that stops reading, such as `head`, is no failure.
        if writeln!(std::io::stdout(), "{text}").is_err() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// The lines printed so far, so that lines that are read a second time are not printed again.
#[derive(Default)]
struct Shown {
    /// By instance the time of its latest line, and the number of lines of that time.
    latest: HashMap<String, (Timestamp, usize)>,
    /// The same figures at the start of the present reading: lines up to them are skipped.
    to_skip: HashMap<String, (Timestamp, usize)>,
}

impl Shown {
    fn read_again(&mut self) {
        self.to_skip = self.latest.clone();
    }

    fn is_new(&mut self, line: &LogRecord) -> bool {
        if let Some((until, of_that_time)) = self.to_skip.get_mut(&line.instance) {
            if line.at < *until {
                return false;
            }
            if line.at == *until && *of_that_time > 0 {
                *of_that_time -= 1;
                return false;
            }
            self.to_skip.remove(&line.instance);
        }
        let (at, count) = self.latest.entry(line.instance.clone()).or_insert((line.at, 0));
        if line.at != *at {
            (*at, *count) = (line.at, 0);
        }
        *count += 1;
        true
    }
}

/// A line as text. Control characters are replaced, because they could rewrite the terminal.
fn plain(line: &LogRecord) -> String {
    let text: String = line.text.chars().map(|c| if c.is_control() && c != '\t' { '�' } else { c }).collect();
    format!("{} {} {}", local_time(line.at), line.instance, text)
}

#[cfg(test)]
mod tests {
    use super::{LogRecord, Shown, Timestamp};
    use gapless_core::Slot;

    fn line(instance: &str, at: u64, text: &str) -> LogRecord {
        let (instance, stream) = (instance.to_owned(), "stdout".to_owned());
        LogRecord { instance, slot: Slot::Blue, at: Timestamp(at), stream, text: text.to_owned() }
    }

    #[test]
    fn shown_skips_repeated_lines_and_prints_new_ones() {
        let mut shown = Shown::default();
        let before = [line("a", 1, "one"), line("b", 1, "uno"), line("a", 2, "two"), line("a", 2, "three")];
        assert!(before.iter().all(|line| shown.is_new(line)));
        for _ in 0..2 {
            shown.read_again();
            assert!(!before.iter().any(|line| shown.is_new(line)));
        }
        shown.read_again();
        assert!(!before[2..].iter().any(|line| shown.is_new(line)));
        for new in [line("a", 2, "two"), line("c", 1, "of an instance of its own"), line("a", 3, "four")] {
            assert!(shown.is_new(&new), "{}", new.text);
        }
        assert!(shown.is_new(&line("a", 1, "the clock was put back")));
    }
}
