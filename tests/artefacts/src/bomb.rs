//! Binaries made byte by byte, for what compilers make of them.

/// A component of one module of one function that adds so many loaded numbers up. A million of them take a
/// compiler minutes or gigabytes.
#[must_use]
pub fn long_function(additions: usize) -> Vec<u8> {
    // i32.load (i32.const 0), i32.add
    let add = [0x41, 0, 0x28, 2, 0, 0x6a].repeat(additions);
    let body = [vec![0, 0x20, 0], add, vec![0x0b]].concat();
    let code = [vec![1], leb(body.len()), body].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, vec![1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, vec![1, 0]),
        section(5, vec![1, 0, 1]),
        section(10, code),
    ];
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, module.concat())].concat()
}

/// A module without metadata that imports `open` of `env`.
#[must_use]
pub fn import_of_env() -> Vec<u8> {
    let import = section(2, b"\x01\x03env\x04open\0\0".to_vec());
    [b"\0asm\x01\0\0\0".to_vec(), section(1, vec![1, 0x60, 0, 0]), import].concat()
}

fn section(id: u8, content: Vec<u8>) -> Vec<u8> {
    [vec![id], leb(content.len()), content].concat()
}

/// A number as WebAssembly writes it.
fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
