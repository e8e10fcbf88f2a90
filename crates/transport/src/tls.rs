//! The stream above a TLS handshake: records of its own, sealed from the caller's memory into one scratch buffer per thread and
//! opened from there into the caller's. A connection without traffic keeps no buffer.
//!
//! An end is what the other side has said (`close_notify`): a stream below that ends without it is
//! [`io::ErrorKind::UnexpectedEof`], as somebody in between may have cut it.

mod handshake;

use std::{
    cell::Cell,
    io::{self, IoSlice},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use rustls::{AlertDescription, ExtractedSecrets};

use super::{Stream, WRITE_MAX, poll_end};
use rtun_tls::{
    Kernel, TlsVersion,
    cipher::{Opener, RecordContent, Sealer},
    hint,
    record::{
        Alert, ContentType, KeyUpdate, Messages, PLAINTEXT_MAX, RECORD_MAX, RecordError,
        RecordHeader,
    },
};

pub use handshake::{Accepted, Connected, accept, connect};

/// The most bytes that are read at once.
const READ_MAX: usize = 256 * 1024;
/// Records in a row that may carry nothing: a flood of them would cost this side more than the other.
const USELESS_MAX: u32 = 32;

/// A stream above another.
pub(crate) struct TlsStream {
    below: Arc<dyn Stream>,
    version: TlsVersion,
    records_per_key: u64,
    reader: Mutex<Reader>,
    writer: Mutex<Writer>,
    kernel: Mutex<Kernel>,
    /// The other side has asked for new keys, which are due before the next data (RFC 8446 section 4.6.3).
    owes_key_update: AtomicBool,
}

/// Its lock may be held while the writer's or the kernel's is taken, never the other way round.
struct Reader {
    opener: Opener,
    messages: Messages,
    /// Records as they came: whole ones that did not fit, then part of one.
    sealed: Rest,
    /// Content of a record that did not fit.
    opened: Rest,
    useless: u32,
    end: Option<End>,
}

/// Its lock may be held while the kernel's is taken.
struct Writer {
    sealer: Sealer,
    /// Records that the stream below has not taken.
    held: Rest,
    end: Option<End>,
}

/// Why a direction is over.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It was closed in order.
    Closed,
    /// The stream below has ended without that.
    Cut,
    /// The other side has given up, with this alert.
    Refused(AlertDescription),
    /// The other side breaks the rules.
    Broken(RecordError),
    /// The stream below has failed, or the other direction.
    Failed,
}

/// Bytes taken from the beginning; the memory goes when the last is.
#[derive(Default)]
struct Rest {
    bytes: Vec<u8>,
    taken: usize,
}

impl Rest {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, taken: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take(&mut self, len: usize) {
        self.taken += len;
        if self.taken == self.bytes.len() {
            *self = Self::default();
        }
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The thread's scratch buffer, or one of its own for a stream above a stream that is using it.
struct Scratch(Vec<u8>);

impl Scratch {
    fn with_len(len: usize) -> Self {
        let mut bytes = SCRATCH.take();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Self(bytes)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.0));
    }
}

impl Reader {
    /// Whether the part of a record that is kept is none the more whole with `new` behind it. To copy it each time would have a
    /// trickle cost this side more than the other.
    fn stays_partial(&self, new: &[u8], version: TlsVersion) -> bool {
        let kept = self.sealed.bytes();
        match RecordHeader::read(kept, version, self.opener.overhead()) {
            Ok(Some(header)) => kept.len() + new.len() < header.record_len,
            _ => false,
        }
    }
}

impl TlsStream {
    /// The stream above `below` after its handshake, of which `received` came behind the last message. `None` if the cipher is
    /// not known.
    pub(crate) fn new(
        below: Arc<dyn Stream>,
        version: TlsVersion,
        secrets: &ExtractedSecrets,
        kernel: Kernel,
        received: Vec<u8>,
        records_per_key: u64,
    ) -> Option<Self> {
        let opener = Opener::new(&secrets.rx.1, secrets.rx.0, version)?;
        let sealer = Sealer::new(&secrets.tx.1, secrets.tx.0, version)?;
        let reader = Reader {
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
            writer: Mutex::new(Writer { sealer, held: Rest::default(), end: None }),
            kernel: Mutex::new(kernel),
            owes_key_update: AtomicBool::new(false),
        })
    }

    /// A poisoned lock cannot have a record's number used twice: it goes up before the record is made.
    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kernel(&self) -> MutexGuard<'_, Kernel> {
        self.kernel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens records from the beginning of `records` until one does not fit or `into` is full: bytes of records that are done
    /// with, and of `into` that are filled. A record larger than all of `into` is put aside, opened.
    fn open_records(&self, reader: &mut Reader, records: &[u8], into: &mut [u8]) -> (usize, usize) {
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
            let inner_len =
                header.record_len - rtun_tls::record::HEADER_LEN - reader.opener.overhead();
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
        reader: &mut Reader,
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
        reader: &mut Reader,
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

    fn take_alert(&self, reader: &mut Reader, content: &[u8]) -> Result<(), RecordError> {
        if reader.messages.is_within() {
            return Err(RecordError::UnexpectedType(ContentType::Alert.code()));
        }
        match Alert::read(content, self.version)? {
            Alert::Close => reader.end = Some(End::Closed),
            Alert::Warning => {}
            Alert::Fatal(code) => {
                reader.end = Some(End::Refused(AlertDescription::from(code)));
                self.writer().end.get_or_insert(End::Failed);
            }
        }
        Ok(())
    }

    fn take_messages(&self, reader: &mut Reader, content: &[u8]) -> Result<(), RecordError> {
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
    /// to be taken: who asks on and on and reads nothing costs no memory.
    fn decline_renegotiation(&self) {
        let mut writer = self.writer();
        if writer.end.is_some() || !writer.held.is_empty() {
            return;
        }
        let warning = Alert::write(AlertDescription::NoRenegotiation);
        if self.hold_message(&mut writer, ContentType::Alert, &warning).is_ok() {
            let _ = self.hand_down(&mut writer);
        }
    }

    /// Ends both directions and tells the other side why, as far as that goes at once.
    fn refuse(&self, reader: &mut Reader, error: RecordError) {
        reader.end = Some(End::Broken(error));
        let mut writer = self.writer();
        if writer.end.is_none() {
            writer.end = Some(End::Failed);
            if self
                .hold_message(&mut writer, ContentType::Alert, &Alert::write(error.alert()))
                .is_ok()
            {
                let _ = self.hand_down(&mut writer);
            }
        }
    }

    /// Seals a small message behind what is held.
    fn hold_message(
        &self,
        writer: &mut Writer,
        content_type: ContentType,
        message: &[u8],
    ) -> Result<(), RecordError> {
        let held = &mut writer.held.bytes;
        let before = held.len();
        held.resize(before + writer.sealer.record_len(message.len()), 0);
        let pieces = [IoSlice::new(message)];
        let mut content = RecordContent::new(&pieces);
        let into = &mut held[before..];
        let sealed = writer.sealer.seal(content_type, &mut content, message.len(), into);
        if let Err(error) = sealed {
            held.truncate(before);
            return Err(error);
        }
        Ok(())
    }

    /// Gives what is held to the stream below; [`io::ErrorKind::WouldBlock`] while it does not take all.
    fn hand_down(&self, writer: &mut Writer) -> io::Result<()> {
        while !writer.held.is_empty() {
            let written = self.below.try_write(writer.held.bytes());
            match below_written(written, writer) {
                Ok(written) => writer.held.take(written),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn poll_hand_down(&self, writer: &mut Writer, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
        writer: &mut Writer,
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
    fn replace_key(&self, writer: &mut Writer, into: &mut [u8]) -> Result<usize, RecordError> {
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
                reader.end = Some(End::Cut);
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
                writer.end = Some(End::Broken(error));
                return Err(End::Broken(error).write());
            }
        };
        let written = match below_written(self.below.try_write(sealed), writer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            result => result?,
        };
        if written < sealed.len() {
            writer.held = Rest::new(sealed[written..].to_vec());
        }
        Ok(total)
    }

    fn write_max(&self) -> usize {
        WRITE_MAX
    }

    fn has_buffered(&self) -> bool {
        !self.writer().held.is_empty() || self.below.has_buffered()
    }

    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut writer = self.writer();
        if writer.end.is_none() {
            writer.end = Some(End::Closed);
            let close = Alert::write(AlertDescription::CloseNotify);
            if let Err(error) = self.hold_message(&mut writer, ContentType::Alert, &close) {
                writer.end = Some(End::Broken(error));
            }
        }
        ready!(self.poll_hand_down(&mut writer, cx))?;
        while self.below.has_buffered() {
            ready!(self.below.poll_writable(cx))?;
        }
        self.below.poll_shutdown(cx)
    }

    fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_end(&*self.below, cx)
    }
}

/// What the stream below has taken; any failure of it is the end, and what is held goes with it.
fn below_written(result: io::Result<usize>, writer: &mut Writer) -> io::Result<usize> {
    let error = match result {
        Ok(written) if written > 0 => return Ok(written),
        Ok(_) => io::ErrorKind::WriteZero.into(),
        Err(error) => error,
    };
    if error.kind() != io::ErrorKind::WouldBlock {
        writer.end.get_or_insert(End::Failed);
        writer.held = Rest::default();
    }
    Err(error)
}

impl End {
    /// What a reader is told.
    fn read(self) -> io::Result<usize> {
        let (kind, text) = match self {
            Self::Closed => return Ok(0),
            Self::Cut => {
                (io::ErrorKind::UnexpectedEof, "TLS: the connection was cut without a close".into())
            }
            Self::Refused(alert) => (
                io::ErrorKind::ConnectionAborted,
                format!("TLS: the other side gives up with the alert {alert:?}{}", hint(&alert)),
            ),
            Self::Broken(error) => (io::ErrorKind::InvalidData, format!("TLS: {error}")),
            Self::Failed => (io::ErrorKind::ConnectionAborted, "TLS: the connection failed".into()),
        };
        Err(io::Error::new(kind, text))
    }

    /// What a writer is told.
    fn write(self) -> io::Error {
        match self {
            Self::Closed => io::Error::new(io::ErrorKind::BrokenPipe, "TLS: closed for writing"),
            end => match end.read() {
                Err(error) => error,
                Ok(_) => io::ErrorKind::BrokenPipe.into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rustls::{
        ServerConfig, ServerConnection, crypto::aws_lc_rs, pki_types::PrivateKeyDer, version::TLS12,
    };

    use rtun_settings::{DialTls, TlsVersions, Verification};
    use rtun_tls::Connector;

    use super::*;
    use crate::memory;

    /// A client of TLS 1.2, and the other side below its records: the stream, and what seals and opens there.
    async fn below_records() -> (Arc<dyn Stream>, Arc<dyn Stream>, Sealer, Opener) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["hub.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS12])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], private)
            .unwrap();
        config.enable_secret_extraction = true;
        let tls = DialTls {
            verification: Verification::Off,
            versions: TlsVersions::Tls12,
            ..DialTls::default()
        };
        let connector = Connector::new(&tls, &[]).unwrap();
        let (client, server) = memory::pair(1 << 16);
        let below: Arc<dyn Stream> = Arc::new(server);
        let host = Ipv4Addr::LOCALHOST.to_string();
        let connect = connect(&connector, Arc::new(client), &host);
        let accept = async {
            let mut rustls = ServerConnection::new(Arc::new(config)).unwrap();
            while rustls.is_handshaking() {
                let mut bytes = vec![0; 20_000];
                let read = below.read(&mut bytes).await.unwrap();
                let mut bytes = &bytes[..read];
                while !bytes.is_empty() {
                    rustls.read_tls(&mut bytes).unwrap();
                    rustls.process_new_packets().unwrap();
                }
                let mut answer = Vec::new();
                while rustls.wants_write() {
                    rustls.write_tls(&mut answer).unwrap();
                }
                below.write_all(&answer).await.unwrap();
            }
            rustls.dangerous_extract_secrets().unwrap()
        };
        let (connected, secrets) = tokio::join!(connect, accept);
        let sealer = Sealer::new(&secrets.tx.1, secrets.tx.0, TlsVersion::Tls12).unwrap();
        let opener = Opener::new(&secrets.rx.1, secrets.rx.0, TlsVersion::Tls12).unwrap();
        (connected.unwrap().stream, below, sealer, opener)
    }

    fn seal(sealer: &mut Sealer, content_type: ContentType, message: &[u8]) -> Vec<u8> {
        let mut record = vec![0; sealer.record_len(message.len())];
        let pieces = [IoSlice::new(message)];
        let mut content = RecordContent::new(&pieces);
        sealer.seal(content_type, &mut content, message.len(), &mut record).unwrap();
        record
    }

    /// RFC 5246 section 7.2.2: a warning, and the connection goes on.
    #[tokio::test]
    async fn another_handshake_is_declined_and_all_goes_on() {
        let (client, below, mut sealer, mut opener) = below_records().await;
        let hello_request = seal(&mut sealer, ContentType::Handshake, &[0, 0, 0, 0]);
        let data = seal(&mut sealer, ContentType::ApplicationData, b"goes on");
        below.write_all(&[hello_request, data].concat()).await.unwrap();
        let mut received = [0; 7];
        client.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"goes on");

        let mut records = vec![0; 1000];
        let read = below.try_read(&mut records).unwrap();
        let mut content = [0; 100];
        let (content_type, len) = opener.open(&records[..read], &mut content).unwrap();
        assert_eq!((content_type, &content[..len]), (ContentType::Alert, &[1, 100][..]));

        client.write_all(b"both ways").await.unwrap();
        let read = below.try_read(&mut records).unwrap();
        let (content_type, len) = opener.open(&records[..read], &mut content).unwrap();
        assert_eq!(content_type, ContentType::ApplicationData);
        assert_eq!(&content[..len], b"both ways");
    }

    #[tokio::test]
    async fn who_asks_for_handshakes_and_reads_nothing_costs_nothing() {
        let (client, below, mut sealer, _opener) = below_records().await;
        for _ in 0..4000 {
            let asked = seal(&mut sealer, ContentType::Handshake, &[0, 0, 0, 0]);
            let data = seal(&mut sealer, ContentType::ApplicationData, b"x");
            below.write_all(&[asked, data].concat()).await.unwrap();
            client.read_exact(&mut [0]).await.unwrap();
        }
        // The pipe below is full, and at most one warning waits for room in it.
        assert!(client.has_buffered());
    }
}
