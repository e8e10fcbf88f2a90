//! The PROXY header on a stream.

use std::net::SocketAddr;

use rtun_settings::ProxyProtocol;
use rtun_transport::proxy::{HeaderError, ReadHeaderError, read_proxy_header, write_proxy_header};

use crate::scripted::pair;

#[tokio::test]
async fn the_address_told_is_read_and_nothing_behind_it_is_lost() {
    for form in [ProxyProtocol::V1, ProxyProtocol::V2] {
        for [source, destination] in
            [["192.0.2.1:1234", "198.51.100.1:443"], ["[2001:db8::1]:1234", "[2001:db8::2]:443"]]
        {
            let source: SocketAddr = source.parse().unwrap();
            let (a, b) = pair();
            let destination = destination.parse().unwrap();
            write_proxy_header(&*a, form, source, destination).await.unwrap();
            a.write_all(b"request").await.unwrap();
            assert_eq!(read_proxy_header(&*b).await.unwrap(), Some(source));
            let mut got = [0; 7];
            b.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"request");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_tells_no_address() {
    let (a, b) = pair();
    a.write_all(b"PROXY UNKNOWN\r\n\r\n\r\n\0\r\nQUIT\n\x20\0\0\0x").await.unwrap();
    assert_eq!(read_proxy_header(&*b).await.unwrap(), None);
    assert_eq!(read_proxy_header(&*b).await.unwrap(), None);
    assert_eq!(b.read(&mut [0; 10]).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_no_header_is_refused() {
    // As much as a host says first.
    let (a, b) = pair();
    a.write_all(&[1]).await.unwrap();
    let error = read_proxy_header(&*b).await.unwrap_err();
    assert!(matches!(error, ReadHeaderError::Header(HeaderError::Missing)), "{error}");
    let (a, b) = pair();
    a.write_all(b"PROXY TCP4").await.unwrap();
    drop(a);
    let error = read_proxy_header(&*b).await.unwrap_err();
    assert!(matches!(error, ReadHeaderError::Io(_)), "{error}");
}
