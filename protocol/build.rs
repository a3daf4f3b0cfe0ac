//! Generates the protobuf messages of the control parts, without an installed `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "frames")]
    generate()?;
    Ok(())
}

#[cfg(feature = "frames")]
fn generate() -> Result<(), Box<dyn std::error::Error>> {
    let file = "proto/waypost.proto";
    println!("cargo:rerun-if-changed={file}");
    let descriptors = protox::compile([file], ["proto"])?;
    prost_build::Config::new().bytes(["."]).compile_fds(descriptors)?;
    Ok(())
}
