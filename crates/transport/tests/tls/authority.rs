//! An authority of one's own: what it signs is taken by both sides, and by neither for anything else.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use rtun_settings::{CertificateFiles, DialTls, ServerTls, Verification};
use rtun_tls::{Acceptor, Authority, CertificateProblem, Connector, Inspected, Issued, TlsError};

use super::{
    acceptor_of,
    files::{self, Dir},
    handshake, served_by,
};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

fn save(dir: &Dir, name: &str, issued: &Issued) -> CertificateFiles {
    CertificateFiles {
        certificate: dir.write(&format!("{name}.pem"), &issued.certificate),
        key: dir.write(&format!("{name}-key.pem"), &issued.key),
    }
}

fn acceptor(files: &CertificateFiles, ca: &CertificateFiles) -> Acceptor {
    let client_ca = Some(ca.certificate.clone());
    acceptor_of(&ServerTls { client_ca, ..served_by(files.clone()) })
}

fn connector(files: &CertificateFiles, ca: &CertificateFiles, name: &str) -> Connector {
    let tls = DialTls {
        verification: Verification::Full { ca: Some(ca.certificate.clone()) },
        server_name: Some(name.into()),
        certificate: Some(files.clone()),
        ..DialTls::default()
    };
    Connector::new(&tls, &[]).unwrap()
}

#[tokio::test]
async fn what_it_signs_before_and_after_it_was_read_again_is_taken_by_both_sides() {
    let dir = Dir::new();
    let (authority, own) = Authority::make("an authority", 10 * YEAR).unwrap();
    let ca = save(&dir, "ca", &own);
    let names = ["hub.example".to_owned(), "203.0.113.5".to_owned(), "fd00::1".to_owned()];
    let hub = authority.server(&names, YEAR).unwrap();
    assert_eq!(hub.info.names, names);
    assert_eq!(hub.info.issuer, own.info.subject);
    let hub = save(&dir, "hub", &hub);
    let acceptor = acceptor(&hub, &ca);
    let again = Authority::read(&ca.certificate, &ca.key).unwrap();
    assert_eq!(again.info(), &own.info);
    for (authority, host) in [(&authority, "host-1"), (&again, "host-2")] {
        let pair = save(&dir, host, &authority.client(host, YEAR).unwrap());
        for name in &names {
            let (connected, accepted) =
                handshake(&connector(&pair, &ca, name), &acceptor, "").await;
            connected.unwrap();
            assert_eq!(accepted.unwrap().client_names.unwrap(), [host]);
        }
    }
}

#[tokio::test]
async fn neither_side_can_be_the_other() {
    let dir = Dir::new();
    let (authority, own) = Authority::make("an authority", YEAR).unwrap();
    let ca = save(&dir, "ca", &own);
    let hub = save(&dir, "hub", &authority.server(&["hub.example".into()], YEAR).unwrap());
    // A host that would be the hub, or the hub's certificate that would be a host's.
    let host = save(&dir, "host", &authority.client("hub.example", YEAR).unwrap());
    let wrong_hub = acceptor(&host, &ca);
    let (connected, _) = handshake(&connector(&host, &ca, "hub.example"), &wrong_hub, "").await;
    let problem = |error| match error {
        TlsError::Certificate { problem, .. } => problem,
        error => panic!("{error}"),
    };
    assert_eq!(problem(connected.unwrap_err()), CertificateProblem::WrongPurpose);
    let (_, accepted) =
        handshake(&connector(&hub, &ca, "hub.example"), &acceptor(&hub, &ca), "").await;
    assert_eq!(problem(accepted.unwrap_err()), CertificateProblem::WrongPurpose);
}

#[test]
fn nothing_outlives_its_authority() {
    let (authority, own) = Authority::make("short", Duration::from_secs(3600)).unwrap();
    let issued = authority.client("host-1", 10 * YEAR).unwrap();
    assert_eq!(issued.info.not_after, own.info.not_after);
    assert!(issued.info.not_before < SystemTime::now());
}

#[test]
fn what_is_no_authority_or_has_run_out_signs_nothing() {
    let dir = Dir::new();
    let (authority, own) = Authority::make("an authority", YEAR).unwrap();
    let ca = save(&dir, "ca", &own);
    let host = save(&dir, "host", &authority.client("host-1", YEAR).unwrap());
    let mut over = files::params("over");
    over.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    over.not_after = (SystemTime::now() - Duration::from_secs(1)).into();
    let over = files::self_signed(over).save(&dir, "over");
    fs::write(dir.file("nothing.pem"), "").unwrap();
    for (certificate, key, expected) in [
        (&host.certificate, &host.key, "holds no certificate of an authority"),
        (&over.certificate, &over.key, "the authority was valid until"),
        (&ca.certificate, &host.key, "does not belong to the certificate"),
        (&dir.file("nothing.pem"), &ca.key, "is empty; put the certificate there in PEM form"),
        (&ca.certificate, &dir.file("missing.pem"), "cannot read"),
    ] {
        let error = Authority::read(certificate, key).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn files_are_looked_over_without_being_used() {
    let dir = Dir::new();
    let (authority, own) = Authority::make("an authority", YEAR).unwrap();
    let ca = save(&dir, "ca", &own);
    let names = ["hub.example".to_owned(), "*.sites.example".to_owned(), "203.0.113.5".to_owned()];
    let hub = save(&dir, "hub", &authority.server(&names, YEAR).unwrap());
    let found = Inspected::pair(&hub.certificate, &hub.key).unwrap();
    for (name, fits) in [
        ("hub.example", true),
        ("HUB.EXAMPLE", true),
        ("a.sites.example", true),
        ("a.b.sites.example", false),
        ("203.0.113.5", true),
        ("203.0.113.6", false),
        ("", false),
        ("not a name", false),
    ] {
        assert_eq!(found.is_for(name), fits, "{name}");
    }
    assert!(!found.is_authority());
    let both =
        dir.write("both.pem", &(own.certificate + &fs::read_to_string(&hub.certificate).unwrap()));
    let found = Inspected::all(&both).unwrap();
    let kinds: Vec<_> = found.iter().map(Inspected::is_authority).collect();
    assert_eq!(kinds, [true, false]);
    assert!(matches!(
        Inspected::pair(&hub.certificate, &ca.key),
        Err(TlsError::KeyMismatch { .. })
    ));
}
