//! Reads event streams.

use crate::error::ClientError;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// The longest event, in bytes.
const EVENT_BYTES_MAX: usize = 4 << 20;

/// A stream of server-sent events, each with a JSON value as its data
/// (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
#[derive(Debug)]
pub struct Follow<T> {
    body: Incoming,
    buffer: Vec<u8>,
    value: PhantomData<T>,
}

impl<T: DeserializeOwned> Follow<T> {
    pub(crate) fn new(body: Incoming) -> Self {
        Follow { body, buffer: Vec::new(), value: PhantomData }
    }

    /// The next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`ClientError::Broken`] if the connection breaks or an event is invalid.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                // Comments only keep the connection alive, and an empty line ends an event: both carry no data.
                if let Some(data) = line.strip_prefix(b"data:") {
                    let event = serde_json::from_slice(data);
                    return event.map(Some).map_err(|error| ClientError::Broken(error.to_string()));
                }
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::Broken(error.to_string())),
                Some(Ok(frame)) => self.buffer.extend(frame.data_ref().into_iter().flatten()),
            }
            if self.buffer.len() > EVENT_BYTES_MAX {
                return Err(ClientError::Broken("an event is longer than 4 MiB".to_owned()));
            }
        }
    }
}
