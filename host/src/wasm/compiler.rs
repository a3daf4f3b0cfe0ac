//! Who compiles: this process, or a child process with limits of its own.
//!
//! A compiler takes what an artefact makes it take, which for some is minutes and gigabytes. A child
//! process bounds that: it makes a component of the artefact, compiles it into the folder of compiled
//! artefacts and hands the component back; its parent then finds the machine code in that folder.
//!
//! The child is this process's own program with the arguments of [`ARGUMENT`]. It reads the artefact from
//! its standard input. On its standard output it writes a line, which says whether it compiled, and then
//! the component, or what is wrong with the artefact.

use std::{
    ffi::OsString,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitStatus,
};

use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};
use wasmtime::{Cache, CacheConfig, Config, Engine, component::Component};

use super::{PluginError, artefact::componentise, child, sandbox::configuration};

/// The subcommand that makes a process compile; its arguments are the folder of compiled artefacts, the
/// seconds and the bytes of memory.
pub const ARGUMENT: &str = "compile-artefact";

/// How much a child yields to the threads that route.
const NICENESS: i32 = 10;
/// What the child's first line says.
const COMPILED: &str = "compiled";
const NOT_WASM: &str = "not-wasm";
const INVALID: &str = "invalid";
const NOT_COMPONENT: &str = "not-component";
const UNKNOWN_IMPORT: &str = "unknown-import";
const COMPILE: &str = "compile";
const COMPILE_MEMORY: &str = "compile-memory";
const COMPILER: &str = "compiler";

/// How much of the machine it may take to compile one artefact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompileLimits {
    /// Seconds of CPU time; on the wall clock it may take ten times that.
    pub seconds: u64,
    /// Address space of the child process, in bytes.
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { seconds: 60, memory_bytes: 1 << 30 }
    }
}

/// Who compiles artefacts.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// This process, without limits: for tests and benchmarks, which know their artefacts.
    InProcess,
    /// A child process for each artefact.
    Child {
        /// How it is started.
        compiler: ChildCompiler,
        /// Where it leaves what it compiled, and where that is kept; an absolute path.
        folder: PathBuf,
    },
}

/// How child processes are started that compile.
#[derive(Debug, Clone)]
pub struct ChildCompiler {
    /// The program, which takes the arguments of [`ARGUMENT`].
    pub program: PathBuf,
    /// What each child may take.
    pub limits: CompileLimits,
}

impl ChildCompiler {
    /// Children of this process's own program.
    ///
    /// # Errors
    ///
    /// The system does not tell where that is.
    pub fn of_this_program(limits: CompileLimits) -> io::Result<Self> {
        // The link stays with the program that runs, even when its file was replaced meanwhile.
        let link = PathBuf::from("/proc/self/exe");
        let program = if link.exists() { link } else { std::env::current_exe()? };
        Ok(Self { program, limits })
    }

    /// Has an artefact compiled into the folder, and gives its component.
    pub(super) fn compile(&self, cache: &Path, artefact: &[u8]) -> Result<Vec<u8>, PluginError> {
        let CompileLimits { seconds, memory_bytes } = self.limits;
        let arguments: [OsString; 4] = [
            ARGUMENT.into(),
            cache.into(),
            seconds.to_string().into(),
            memory_bytes.to_string().into(),
        ];
        let ended = child::run(&self.program, &arguments, artefact, self.limits)
            .map_err(|error| PluginError::Compiler(format!("it does not start: {error}")))?;
        let Some(status) = ended.status else {
            return Err(PluginError::CompileWallClock { seconds: ended.wall.as_secs() });
        };
        match status.success() {
            true => self.answer(ended.output),
            false => Err(self.killed(status, &ended.told)),
        }
    }

    /// What a child's output says.
    fn answer(&self, mut output: Vec<u8>) -> Result<Vec<u8>, PluginError> {
        let Some(end) = output.iter().position(|byte| *byte == b'\n') else {
            return Err(PluginError::Compiler("it says nothing".to_owned()));
        };
        let rest = output.split_off(end + 1);
        output.truncate(end);
        let text = || String::from_utf8_lossy(&rest).into_owned();
        Err(match String::from_utf8_lossy(&output).as_ref() {
            COMPILED => return Ok(rest),
            NOT_WASM => PluginError::NotWasm,
            INVALID => PluginError::Invalid(text()),
            NOT_COMPONENT => PluginError::NotComponent(text()),
            UNKNOWN_IMPORT => PluginError::UnknownImport(text()),
            COMPILE => PluginError::Compile(text()),
            COMPILE_MEMORY => PluginError::CompileMemory { bytes: self.limits.memory_bytes },
            COMPILER => PluginError::Compiler(text()),
            _ => PluginError::Compiler("it says what nobody understands".to_owned()),
        })
    }

    /// Why a child ended that gave no answer.
    fn killed(&self, status: ExitStatus, told: &str) -> PluginError {
        use rustix::process::Signal;
        use std::os::unix::process::ExitStatusExt as _;
        let is = |signal: Signal| status.signal() == Some(signal.as_raw());
        let CompileLimits { seconds, memory_bytes } = self.limits;
        // What an allocation that fails makes the standard library say before it aborts.
        let is_out_of_memory = told.contains("memory allocation of");
        if is(Signal::XCPU) {
            PluginError::CompileTime { seconds }
        } else if is(Signal::ABORT) && is_out_of_memory {
            PluginError::CompileMemory { bytes: memory_bytes }
        } else if is(Signal::SEGV) || is(Signal::ABORT) || is(Signal::ILL) {
            // Most likely the compiler's own stack; the artefact is to blame in any case.
            PluginError::Compile(format!("the compiler ended with {status}: {}", told.trim()))
        } else {
            PluginError::Compiler(format!("it ended with {status}: {}", told.trim()))
        }
    }
}

/// What the child does: it limits itself, then compiles what it reads from its standard input.
///
/// # Errors
///
/// The limits cannot be set, or its parent is gone.
pub fn compile_as_child(cache: &Path, limits: CompileLimits) -> io::Result<()> {
    limit(limits)?;
    let mut artefact = Vec::new();
    io::stdin().lock().read_to_end(&mut artefact)?;
    let compiled = compile_into(cache, &artefact, limits);
    let (line, body) = match compiled {
        Ok(component) => (COMPILED, component),
        Err(PluginError::NotWasm) => (NOT_WASM, Vec::new()),
        Err(PluginError::Invalid(text)) => (INVALID, text.into()),
        Err(PluginError::NotComponent(text)) => (NOT_COMPONENT, text.into()),
        Err(PluginError::UnknownImport(text)) => (UNKNOWN_IMPORT, text.into()),
        Err(PluginError::Compile(text)) => (COMPILE, text.into()),
        Err(PluginError::CompileMemory { .. }) => (COMPILE_MEMORY, Vec::new()),
        Err(PluginError::Compiler(text)) => (COMPILER, text.into()),
        Err(other) => (COMPILER, other.to_string().into()),
    };
    let mut output = io::stdout().lock();
    output.write_all(line.as_bytes())?;
    output.write_all(b"\n")?;
    output.write_all(&body)?;
    output.flush()
}

/// Bounds this process from now on.
fn limit(limits: CompileLimits) -> io::Result<()> {
    let bound = |resource, current: u64, maximum: u64| {
        setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
    };
    bound(Resource::Core, 0, 0)?;
    bound(Resource::As, limits.memory_bytes, limits.memory_bytes)?;
    // A second after the signal that says so comes the one that nobody survives.
    bound(Resource::Cpu, limits.seconds, limits.seconds.saturating_add(1))?;
    // A system that does not let it be polite still limits it.
    let _ = setpriority_process(None, NICENESS);
    Ok(())
}

/// Compiles an artefact into the folder, and looks whether it is there.
fn compile_into(
    folder: &Path,
    artefact: &[u8],
    limits: CompileLimits,
) -> Result<Vec<u8>, PluginError> {
    let component = componentise(artefact)?;
    let ours = |error: wasmtime::Error| PluginError::Compiler(format!("{error:#}"));
    let engine = |cache: Option<Cache>| -> Result<Engine, PluginError> {
        let mut config: Config = configuration();
        Engine::new(config.cache(cache)).map_err(ours)
    };
    let first = engine(Some(open(folder).map_err(ours)?))?;
    Component::from_binary(&first, &component).map_err(|error| {
        let system = error.downcast_ref::<io::Error>().map(io::Error::kind);
        match system {
            Some(io::ErrorKind::OutOfMemory) => {
                PluginError::CompileMemory { bytes: limits.memory_bytes }
            }
            _ => PluginError::Compile(format!("{error:#}")),
        }
    })?;
    let cache = open(folder).map_err(ours)?;
    let second = engine(Some(cache.clone()))?;
    Component::from_binary(&second, &component).map_err(ours)?;
    if cache.cache_hits() == 1 {
        return Ok(component);
    }
    let text = format!("it cannot keep what it compiled in {}", folder.display());
    Err(PluginError::Compiler(text))
}

/// The cache of compiled artefacts in a folder.
pub(super) fn open(folder: &Path) -> wasmtime::Result<Cache> {
    let mut cache = CacheConfig::new();
    cache.with_directory(folder);
    Cache::new(cache)
}
