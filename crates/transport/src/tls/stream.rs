//! The stream above a TLS handshake: records of its own, sealed from the caller's memory into one scratch buffer per thread and
//! opened from there into the caller's. A connection without traffic keeps no buffer.
//!
//! An end is what the other side has said (`close_notify`): a stream below that ends without it is
//! [`io::ErrorKind::UnexpectedEof`], as an attacker may have cut it.

use std::{
    io::{self, IoSlice},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use rtun_tls::{
    Kernel, TlsVersion,
    cipher::{Opener, RecordContent, Sealer},
    record::{
        Alert, ContentType, HEADER_LEN, KeyUpdate, Messages, PLAINTEXT_MAX, RECORD_MAX,
        RecordError, RecordHeader,
    },
};
use rustls::{AlertDescription, ExtractedSecrets};

use super::{
    buffer::{Rest, Scratch},
    end::TlsEnd,
};
use crate::{Stream, WRITE_MAX, poll_end, poll_shutdown_flushed};

#[cfg(test)]
mod tests;

/// The most bytes that are read at once.
const READ_MAX: usize = 256 * 1024;
/// Records in a row that may carry nothing: a flood of them would cost this side more than the other.
const USELESS_MAX: u32 = 32;

/// A stream above another.
pub(super) struct TlsStream {
    below: Arc<dyn Stream>,
    version: TlsVersion,
    records_per_key: u64,
    reader: Mutex<RecordReader>,
    writer: Mutex<RecordWriter>,
    kernel: Mutex<Kernel>,
    /// The other side has asked for new keys, which are due before the next data (RFC 8446 section 4.6.3).
    owes_key_update: AtomicBool,
}

/// Its lock may be held while the writer's or the kernel's is taken, never the other way round.
struct RecordReader {
    opener: Opener,
    messages: Messages,
    /// Records as they came: whole ones that did not fit, then part of one.
    sealed: Rest,
    /// Content of a record that did not fit.
    opened: Rest,
    useless: u32,
    end: Option<TlsEnd>,
}

/// Its lock may be held while the kernel's is taken.
struct RecordWriter {
    sealer: Sealer,
    /// Records that the stream below has not taken.
    buffered: Rest,
    end: Option<TlsEnd>,
}

impl RecordReader {
    /// Whether a record that is kept in part is still not whole with `new` after it. To copy it each time would let a slow sender
    /// cost this side more than itself.
    fn stays_partial(&self, new: &[u8], version: TlsVersion) -> bool {
        let kept = self.sealed.bytes();
        match RecordHeader::read(kept, version, self.opener.overhead()) {
            Ok(Some(header)) => kept.len() + new.len() < header.record_len,
            _ => false,
        }
    }
}

impl TlsStream {
    /// The stream above `below` after its handshake, of which `received` came after the last message. `None` if the cipher is
    /// not known.
    pub(super) fn new(
        below: Arc<dyn Stream>,
        version: TlsVersion,
        secrets: &ExtractedSecrets,
        kernel: Kernel,
        received: Vec<u8>,
        records_per_key: u64,
    ) -> Option<Self> {
        let opener = Opener::new(&secrets.rx.1, secrets.rx.0, version)?;
        let sealer = Sealer::new(&secrets.tx.1, secrets.tx.0, version)?;
        let reader = RecordReader {
            opener,
            messages: Messages::default(),
            sealed: Rest::new(received),
            opened: Rest::default(),
            useless: 0,
            end: None,
        };
        Some(Self {
            below,
            version,
            records_per_key,
            reader: Mutex::new(reader),
            writer: Mutex::new(RecordWriter { sealer, buffered: Rest::default(), end: None }),
            kernel: Mutex::new(kernel),
            owes_key_update: AtomicBool::new(false),
        })
    }

    /// A poisoned lock cannot have a record's number used twice: it goes up before the record is made.
    fn reader(&self) -> MutexGuard<'_, RecordReader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, RecordWriter> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens records from the beginning of `records` until one does not fit or `into` is full: bytes of records that are done
    /// with, and of `into` that are filled. A record larger than all of `into` is put aside, opened.
    fn open_records(
        &self,
        reader: &mut RecordReader,
        records: &[u8],
        into: &mut [u8],
    ) -> (usize, usize) {
        let (mut done, mut filled) = (0, 0);
        while reader.end.is_none() && filled < into.len() {
            let rest = &records[done..];
            let header = match RecordHeader::whole(rest, self.version, reader.opener.overhead()) {
                Ok(Some(header)) => header,
                Ok(None) => break,
                Err(error) => {
                    self.refuse(reader, error);
                    break;
                }
            };
            let record = &rest[..header.record_len];
            let room = &mut into[filled..];
            // The body without tag, but with TLS 1.3's type.
            let inner_len = header.record_len - HEADER_LEN - reader.opener.overhead();
            let opened = if inner_len <= room.len() {
                self.open_record(reader, record, room)
            } else if filled > 0 {
                break;
            } else {
                self.open_aside(reader, record, inner_len, room)
            };
            done += header.record_len;
            match opened {
                Ok(len) => filled += len,
                Err(error) => self.refuse(reader, error),
            }
        }
        (done, filled)
    }

    /// Opens a record into `into`, which has room for it; how much of that is content for the caller.
    fn open_record(
        &self,
        reader: &mut RecordReader,
        record: &[u8],
        into: &mut [u8],
    ) -> Result<usize, RecordError> {
        let (content_type, len) = reader.opener.open(record, into)?;
        if content_type == ContentType::ApplicationData {
            if reader.messages.is_within() {
                return Err(RecordError::UnexpectedType(content_type.code()));
            }
            if len > 0 {
                reader.useless = 0;
                return Ok(len);
            }
        }
        reader.useless += 1;
        if reader.useless > USELESS_MAX {
            return Err(RecordError::Useless);
        }
        match content_type {
            ContentType::ApplicationData => {}
            ContentType::Alert => self.take_alert(reader, &into[..len])?,
            ContentType::Handshake => self.take_messages(reader, &into[..len])?,
        }
        Ok(0)
    }

    /// Opens a record that is larger than `into`, and puts aside what does not fit.
    fn open_aside(
        &self,
        reader: &mut RecordReader,
        record: &[u8],
        inner_len: usize,
        into: &mut [u8],
    ) -> Result<usize, RecordError> {
        let mut content = vec![0; inner_len];
        let len = self.open_record(reader, record, &mut content)?;
        let fits = len.min(into.len());
        into[..fits].copy_from_slice(&content[..fits]);
        if fits < len {
            content.truncate(len);
            reader.opened = Rest { bytes: content, taken: fits };
        }
        Ok(fits)
    }

    fn take_alert(&self, reader: &mut RecordReader, content: &[u8]) -> Result<(), RecordError> {
        if reader.messages.is_within() {
            return Err(RecordError::UnexpectedType(ContentType::Alert.code()));
        }
        match Alert::read(content, self.version)? {
            Alert::Close => reader.end = Some(TlsEnd::Closed),
            Alert::Warning => {}
            Alert::Fatal(code) => {
                reader.end = Some(TlsEnd::Refused(AlertDescription::from(code)));
                self.writer().end.get_or_insert(TlsEnd::Failed);
            }
        }
        Ok(())
    }

    fn take_messages(&self, reader: &mut RecordReader, content: &[u8]) -> Result<(), RecordError> {
        let mut kernel = self.kernel();
        if self.version == TlsVersion::Tls12 {
            if reader.messages.take_tls12(content, kernel.is_client())? {
                drop(kernel);
                self.decline_renegotiation();
            }
            return Ok(());
        }
        if let Some(KeyUpdate { answer }) = reader.messages.take(content, kernel.is_client())? {
            let secrets = kernel.next_receiving().map_err(|_| RecordError::Exhausted)?;
            reader.opener = Opener::new(&secrets, 0, self.version).ok_or(RecordError::Exhausted)?;
            if answer {
                self.owes_key_update.store(true, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Tells the other side that there is no other handshake; everything goes on as it was. Not while something else waits
    /// to be taken: a peer that asks again and again and reads nothing costs no memory.
    fn decline_renegotiation(&self) {
        let mut writer = self.writer();
        if writer.end.is_some() || !writer.buffered.is_empty() {
            return;
        }
        let warning = Alert::write(AlertDescription::NoRenegotiation);
        if self.buffer_message(&mut writer, ContentType::Alert, &warning).is_ok() {
            let _ = self.hand_down(&mut writer);
        }
    }

    /// Ends both directions and tells the other side why, as far as that goes at once.
    fn refuse(&self, reader: &mut RecordReader, error: RecordError) {
        reader.end = Some(TlsEnd::Broken(error));
        let mut writer = self.writer();
        if writer.end.is_none() {
            writer.end = Some(TlsEnd::Failed);
            if self
                .buffer_message(&mut writer, ContentType::Alert, &Alert::write(error.alert()))
                .is_ok()
            {
                let _ = self.hand_down(&mut writer);
            }
        }
    }

    /// Seals a small message after what is buffered.
    fn buffer_message(
        &self,
        writer: &mut RecordWriter,
        content_type: ContentType,
        message: &[u8],
    ) -> Result<(), RecordError> {
        let buffered = &mut writer.buffered.bytes;
        let before = buffered.len();
        buffered.resize(before + writer.sealer.record_len(message.len()), 0);
        let pieces = [IoSlice::new(message)];
        let mut content = RecordContent::new(&pieces);
        let into = &mut buffered[before..];
        let sealed = writer.sealer.seal(content_type, &mut content, message.len(), into);
        if let Err(error) = sealed {
            buffered.truncate(before);
            return Err(error);
        }
        Ok(())
    }

    /// Gives what is buffered to the stream below; [`io::ErrorKind::WouldBlock`] while it does not take all.
    fn hand_down(&self, writer: &mut RecordWriter) -> io::Result<()> {
        while !writer.buffered.is_empty() {
            let written = self.below.try_write(writer.buffered.bytes());
            match below_written(written, writer) {
                Ok(written) => writer.buffered.take(written),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn poll_hand_down(
        &self,
        writer: &mut RecordWriter,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.hand_down(writer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
            ready!(self.below.poll_writable(cx))?;
        }
    }

    /// Seals up to [`WRITE_MAX`] bytes of `pieces` into `into`: how many, and the length of the records.
    fn seal_records(
        &self,
        writer: &mut RecordWriter,
        pieces: &[IoSlice<'_>],
        total: usize,
        into: &mut [u8],
    ) -> Result<usize, RecordError> {
        let mut content = RecordContent::new(pieces);
        let (mut done, mut filled) = (0, 0);
        while done < total {
            if writer.sealer.is_worn(self.records_per_key)
                || self.owes_key_update.load(Ordering::Acquire)
            {
                filled += self.replace_key(writer, &mut into[filled..])?;
            }
            let len = (total - done).min(PLAINTEXT_MAX);
            let data = ContentType::ApplicationData;
            filled += writer.sealer.seal(data, &mut content, len, &mut into[filled..])?;
            done += len;
        }
        Ok(filled)
    }

    /// Announces a new key under the old one and goes over to it; the length of the announcement.
    fn replace_key(
        &self,
        writer: &mut RecordWriter,
        into: &mut [u8],
    ) -> Result<usize, RecordError> {
        if self.version == TlsVersion::Tls12 {
            return Err(RecordError::Exhausted);
        }
        self.owes_key_update.store(false, Ordering::Release);
        let pieces = [IoSlice::new(&KeyUpdate::MESSAGE)];
        let mut content = RecordContent::new(&pieces);
        let len = KeyUpdate::MESSAGE.len();
        let filled = writer.sealer.seal(ContentType::Handshake, &mut content, len, into)?;
        let secrets = self.kernel().next_sending().map_err(|_| RecordError::Exhausted)?;
        writer.sealer = Sealer::new(&secrets, 0, self.version).ok_or(RecordError::Exhausted)?;
        Ok(filled)
    }
}

impl Stream for TlsStream {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let reader = self.reader();
        let whole = || {
            let overhead = reader.opener.overhead();
            !matches!(RecordHeader::whole(reader.sealed.bytes(), self.version, overhead), Ok(None))
        };
        if reader.end.is_some() || !reader.opened.is_empty() || whole() {
            return Poll::Ready(Ok(()));
        }
        self.below.poll_readable(cx)
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let mut reader = self.reader();
        let reader = &mut *reader;
        if !reader.opened.is_empty() {
            let rest = reader.opened.bytes();
            let len = rest.len().min(into.len());
            into[..len].copy_from_slice(&rest[..len]);
            reader.opened.take(len);
            return Ok(len);
        }
        loop {
            if !reader.sealed.is_empty() {
                let mut sealed = std::mem::take(&mut reader.sealed);
                let (done, filled) = self.open_records(reader, sealed.bytes(), into);
                sealed.take(done);
                reader.sealed = sealed;
                if filled > 0 {
                    return Ok(filled);
                }
            }
            if let Some(end) = reader.end {
                reader.sealed = Rest::default();
                return end.read();
            }
            // Now there is less than a whole record. Content of what is read fits, unless a single record does not.
            let len = into.len().clamp(RECORD_MAX, READ_MAX);
            let mut scratch = Scratch::with_len(len);
            let kept = reader.sealed.bytes().len();
            let read = self.below.try_read(&mut scratch.0[kept..len])?;
            if read == 0 {
                reader.end = Some(TlsEnd::Cut);
                continue;
            }
            if kept > 0 {
                let new = &scratch.0[kept..kept + read];
                if reader.stays_partial(new, self.version) {
                    reader.sealed.bytes.extend_from_slice(new);
                    continue;
                }
                scratch.0[..kept].copy_from_slice(reader.sealed.bytes());
                reader.sealed = Rest::default();
            }
            let records = &scratch.0[..kept + read];
            let (done, filled) = self.open_records(reader, records, into);
            if done < records.len() && reader.end.is_none() {
                reader.sealed = Rest::new(records[done..].to_vec());
            }
            if filled > 0 {
                return Ok(filled);
            }
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writer = self.writer();
        ready!(self.poll_hand_down(&mut writer, cx))?;
        self.below.poll_writable(cx)
    }

    fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut writer = self.writer();
        let writer = &mut *writer;
        if let Some(end) = writer.end {
            return Err(end.write());
        }
        self.hand_down(writer)?;
        let total = pieces.iter().map(|piece| piece.len()).sum::<usize>().min(WRITE_MAX);
        if total == 0 {
            return Ok(0);
        }
        // Each record, and a key update before each.
        let records = total.div_ceil(PLAINTEXT_MAX);
        let overhead =
            writer.sealer.record_len(0) + writer.sealer.record_len(KeyUpdate::MESSAGE.len());
        let mut scratch = Scratch::with_len(total + records * overhead);
        let sealed = match self.seal_records(writer, pieces, total, &mut scratch.0) {
            Ok(len) => &scratch.0[..len],
            Err(error) => {
                writer.end = Some(TlsEnd::Broken(error));
                return Err(TlsEnd::Broken(error).write());
            }
        };
        let written = match below_written(self.below.try_write(sealed), writer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            result => result?,
        };
        if written < sealed.len() {
            writer.buffered = Rest::new(sealed[written..].to_vec());
        }
        Ok(total)
    }

    fn write_max(&self) -> usize {
        WRITE_MAX
    }

    fn has_buffered(&self) -> bool {
        !self.writer().buffered.is_empty() || self.below.has_buffered()
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writer = self.writer();
        if writer.end.is_none() {
            writer.end = Some(TlsEnd::Closed);
            let close = Alert::write(AlertDescription::CloseNotify);
            if let Err(error) = self.buffer_message(&mut writer, ContentType::Alert, &close) {
                writer.end = Some(TlsEnd::Broken(error));
            }
        }
        ready!(self.poll_hand_down(&mut writer, cx))?;
        poll_shutdown_flushed(&*self.below, cx)
    }

    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_end(&*self.below, cx)
    }
}

/// What the stream below has taken; any failure of it is the end, and what is buffered is discarded.
fn below_written(result: io::Result<usize>, writer: &mut RecordWriter) -> io::Result<usize> {
    let error = match result {
        Ok(written) if written > 0 => return Ok(written),
        Ok(_) => io::ErrorKind::WriteZero.into(),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::WouldBlock {
        writer.end.get_or_insert(TlsEnd::Failed);
        writer.buffered = Rest::default();
    }
    Err(error)
}
