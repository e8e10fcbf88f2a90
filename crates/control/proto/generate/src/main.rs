//! Writes the gRPC code of rtun's plugins anew: `cargo run --manifest-path crates/control/proto/generate/Cargo.toml`
//! after a change of `plugins.proto`. Needs no protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no parent")?;
    let control = proto.parent().ok_or("no parent")?;
    let descriptors = protox::compile(["plugins.proto"], [proto])?;
    for (out, client) in [("src/grpc/generated", true), ("tests/support/generated", false)] {
        tonic_prost_build::configure()
            .build_client(client)
            .build_server(!client)
            .build_transport(false)
            .skip_debug(["proto.AuthenticateRequest"])
            .out_dir(control.join(out))
            .compile_fds(descriptors.clone())?;
    }
    Ok(())
}
