//! The part of the redis protocol (RESP2) that reads one key, into bounded memory, or adds to one.
//!
//! The client sends each command as an array of bulk strings and waits for its reply: `+text` or `-error` on a line,
//! or `*count` and `count` times `$length`, a line end, the bytes and a line end
//! (<https://redis.io/docs/latest/develop/reference/protocol-spec/>).

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::source_error::{MAX_TEXT, SourceError};

/// Longest line of a reply, in bytes: a type, a count, or an error's text.
const MAX_LINE: u64 = 1024;

/// How many strings memory is reserved for before the first one arrives.
const FIRST_STRINGS: usize = 64 * 1024;

/// A connection to a redis server. After an error it cannot be used any more.
pub(crate) struct RespClient<S> {
    stream: BufReader<S>,
    /// How many more bytes of replies may be read.
    left: usize,
    /// The longest text of a reply, in bytes.
    max_bytes: usize,
}

/// Strings, one after the other in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    bytes: Vec<u8>,
    /// Where each ends. They are at most [`MAX_TEXT`] bytes together.
    ends: Vec<u32>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> RespClient<S> {
    /// Speaks over `stream`; reads at most [`MAX_TEXT`] bytes, all replies together.
    pub(crate) fn new(stream: S) -> Self {
        let stream = BufReader::with_capacity(64 * 1024, stream);
        Self { stream, left: MAX_TEXT, max_bytes: MAX_TEXT }
    }

    /// From now on reads little more than this many bytes, all replies together.
    pub(crate) fn allow(&mut self, max_bytes: usize) {
        self.left = self.left.min(max_bytes.saturating_add(MAX_LINE as usize));
        self.max_bytes = max_bytes;
    }

    /// A command that is answered with a word.
    pub(crate) async fn run(&mut self, command: &[&str]) -> Result<(), SourceError> {
        self.send(command).await?;
        match self.line().await?.as_bytes() {
            [b'+', ..] => Ok(()),
            _ => Err(SourceError::Nonsense("a word was expected")),
        }
    }

    /// A command that is answered with a number, which does not matter.
    pub(crate) async fn count(&mut self, command: &[&str]) -> Result<(), SourceError> {
        self.send(command).await?;
        match self.line().await?.as_bytes() {
            [b':', ..] => Ok(()),
            // A number that may have a fraction is a string.
            [b'$', ..] => self.line().await.map(drop),
            _ => Err(SourceError::Nonsense("a number was expected")),
        }
    }

    /// A command that is answered with a list of strings.
    pub(crate) async fn strings(&mut self, command: &[&str]) -> Result<Strings, SourceError> {
        self.send(command).await?;
        let count = number(&self.line().await?, '*')?;
        let mut strings = Strings::default();
        strings.ends.reserve(count.min(FIRST_STRINGS));
        for _ in 0..count {
            let len = number(&self.line().await?, '$')?;
            self.read_string(len, &mut strings.bytes).await?;
            strings.ends.push(strings.bytes.len() as u32);
        }
        Ok(strings)
    }

    /// A command that is answered with one string; empty if the key is not there.
    pub(crate) async fn string(&mut self, command: &[&str]) -> Result<Vec<u8>, SourceError> {
        self.send(command).await?;
        let mut bytes = Vec::new();
        let head = self.line().await?;
        if head != "$-1" {
            self.read_string(number(&head, '$')?, &mut bytes).await?;
        }
        Ok(bytes)
    }

    /// Adds a string of this length to `bytes`, and reads its end.
    async fn read_string(&mut self, len: usize, bytes: &mut Vec<u8>) -> Result<(), SourceError> {
        self.spend(len.saturating_add(2))?;
        let got = (&mut self.stream).take(len as u64).read_to_end(bytes).await;
        if got.map_err(failed)? < len {
            return Err(cut_short());
        }
        let mut end = [0; 2];
        self.stream.read_exact(&mut end).await.map_err(failed)?;
        if end != *b"\r\n" {
            return Err(SourceError::Nonsense("a string is longer than announced"));
        }
        Ok(())
    }

    async fn send(&mut self, command: &[&str]) -> Result<(), SourceError> {
        let mut bytes = format!("*{}\r\n", command.len());
        for word in command {
            bytes.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.write_all(bytes.as_bytes()).await.map_err(failed)?;
        self.stream.flush().await.map_err(failed)
    }

    /// The next line without its end. One that is an error is the server's refusal.
    async fn line(&mut self) -> Result<String, SourceError> {
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_LINE).read_until(b'\n', &mut line).await.map_err(failed)?;
        self.spend(line.len())?;
        let Some(text) = line.strip_suffix(b"\r\n") else {
            let whole = line.len() as u64 == MAX_LINE || line.ends_with(b"\n");
            return Err(if whole {
                SourceError::Nonsense("a line has no end")
            } else {
                cut_short()
            });
        };
        let text = String::from_utf8_lossy(text);
        match text.strip_prefix('-') {
            Some(error) => Err(SourceError::Refused(error.escape_debug().to_string())),
            None => Ok(text.into_owned()),
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), SourceError> {
        self.left = self.left.checked_sub(bytes).ok_or(SourceError::TooLarge(self.max_bytes))?;
        Ok(())
    }
}

impl Strings {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// # Panics
    ///
    /// When `n` is not below [`Strings::len`].
    pub(crate) fn get(&self, n: usize) -> &[u8] {
        let start = if n == 0 { 0 } else { self.ends[n - 1] };
        &self.bytes[start as usize..self.ends[n] as usize]
    }
}

fn number(line: &str, kind: char) -> Result<usize, SourceError> {
    let number = line.strip_prefix(kind).and_then(|digits| digits.parse().ok());
    number.ok_or(SourceError::Nonsense("strings were expected"))
}

fn failed(error: std::io::Error) -> SourceError {
    SourceError::Unreachable(error.to_string())
}

fn cut_short() -> SourceError {
    SourceError::Unreachable("the answer ends in the middle".into())
}
